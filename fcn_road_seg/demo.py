"""The newcomer's run: a camera, the node and a recorder, each its own process, over ROS 2."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tqdm import tqdm

from fcn_road_seg.datasets import IMAGE_SUFFIXES, ROAD
from fcn_road_seg.image_msgs import image_msg
from fcn_road_seg.pictures import letterboxed, sheet
from fcn_road_seg.synthetic import SyntheticDrive

CAMERA_HW = (375, 1242)
FRAMES_A_DRIVE = 15
START_TIMEOUT_S = 90.0
HELLO_PERIOD_S = 2.0
# A CPU takes about a second for a frame, and the last one waits for the one before it.
LAST_MASK_TIMEOUT_S = 30.0
MIN_IOU = 0.8
SHEET_ROWS = 8
SHEET_COLUMN_WIDTH = 480


class DemoError(RuntimeError):
    """The demo did not show what it should; the text says what is missing."""


@dataclass(frozen=True)
class Shot:
    """One camera frame (H, W, 3) uint8 BGR; `label` (H, W) uint8 where it is known exactly."""

    frame_bgr: np.ndarray
    label: np.ndarray | None = None


@dataclass
class Recording:
    """What came back for frames stamped at or after `since_ns`, by their stamps in ns.

    `latency_ms` is from the stamp to the mask's receipt.
    """

    since_ns: int = 0
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    overlays_bgr: dict[int, np.ndarray] = field(default_factory=dict)
    latency_ms: dict[int, float] = field(default_factory=dict)

    def has(self, stamp_ns: int) -> bool:
        return stamp_ns in self.masks and stamp_ns in self.overlays_bgr

    def add_mask(self, stamp_ns: int, mask: np.ndarray) -> None:
        if stamp_ns >= self.since_ns:
            self.latency_ms[stamp_ns] = (time.time_ns() - stamp_ns) / 1e6
            self.masks[stamp_ns] = mask

    def add_overlay(self, stamp_ns: int, overlay_bgr: np.ndarray) -> None:
        if stamp_ns >= self.since_ns:
            self.overlays_bgr[stamp_ns] = overlay_bgr


class Recorder(Node):
    """Keeps every mask and overlay that the node publishes."""

    def __init__(self, namespace: str) -> None:
        super().__init__('recorder', namespace=namespace)
        self.recording = Recording()
        deep = QoSProfile(depth=100)
        self.create_subscription(Image, 'fcn_road_seg/mask', self._on_mask, deep)
        self.create_subscription(Image, 'fcn_road_seg/overlay', self._on_overlay, deep)

    def _on_mask(self, msg: Image) -> None:
        pixels = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)
        self.recording.add_mask(_stamp_ns(msg.header), pixels)

    def _on_overlay(self, msg: Image) -> None:
        pixels = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)
        self.recording.add_overlay(_stamp_ns(msg.header), pixels)


def run_camera(folder: Path, topic: str, rate_hz: float, link: Connection) -> None:
    """Publish pictures (.npy) of `folder`: the first for 'hello', all of them for 'stream'.

    Answers each with the stamps in ns, and ends with 'done': not earlier, because a publisher
    that leaves takes its undelivered frames along.
    """
    # Ctrl-C is the demo's to handle; it ends this process by SIGTERM, which must not wait.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('demo_camera')
    publisher = node.create_publisher(Image, topic, 1)
    paths = sorted(folder.glob('*.npy'))
    for command in iter(link.recv, 'done'):
        stamps_ns = []
        start = time.monotonic()
        for index, path in enumerate(paths if command == 'stream' else paths[:1]):
            frame_bgr = np.load(path)
            time.sleep(max(0.0, start + index / rate_hz - time.monotonic()))
            header = Header(stamp=node.get_clock().now().to_msg(), frame_id='demo_camera')
            publisher.publish(image_msg(frame_bgr, 'bgr8', header))
            stamps_ns.append(_stamp_ns(header))
        link.send(stamps_ns)
    rclpy.shutdown()


def rendered_shots(count: int, seed: int) -> list[Shot]:
    """Render `count` frames: drives of 15 frames each, 0.1 s apart, seeds `seed` and up."""
    shots = []
    for index in tqdm(range(count), desc='rendering', unit='frame'):
        drive, step = divmod(index, FRAMES_A_DRIVE)
        if step == 0:
            scene = SyntheticDrive(seed + drive, CAMERA_HW)
        shots.append(Shot(*scene.render(t_s=step / 10)))
    return shots


def image_shots(folder: Path) -> list[Shot]:
    """Read all pictures of a folder, in the order of their names.

    Raises:
        DemoError: there is none, or one is not readable.
    """
    paths = sorted(p for p in folder.glob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DemoError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    shots = []
    for path in tqdm(paths, desc='reading', unit='frame'):
        frame_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if frame_bgr is None:
            raise DemoError(f'{path} is not a readable image; replace or remove it')
        shots.append(Shot(frame_bgr))
    return shots


def play(
    shots: Sequence[Shot], rate_hz: float, node_args: Sequence[str], log_path: Path
) -> tuple[list[int], Recording]:
    """Send `shots` through the node; return their stamps in ns, and what came back.

    Raises:
        DemoError: the node or the camera did not start, or ended on the way.
    """
    # Of its own, so that nothing else on this machine or network takes part.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    namespace = f'demo_{os.getpid()}'
    spawn = multiprocessing.get_context('spawn')
    link, camera_link = spawn.Pipe()
    rclpy.init(args=[])
    recorder = Recorder(namespace)
    with tempfile.TemporaryDirectory() as folder, log_path.open('w') as log:
        for index, shot in enumerate(shots):
            np.save(Path(folder, f'{index:06d}.npy'), shot.frame_bgr)
        camera = spawn.Process(
            target=run_camera,
            args=(Path(folder), f'/{namespace}/image', rate_hz, camera_link),
            daemon=True,
        )
        segment = subprocess.Popen(
            _node_command(namespace, node_args), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            camera.start()
            print(f'starting the node (its log: {log_path})')
            _wait_until_connected(recorder, segment, link)
            link.send('stream')
            stamps_ns = _record(recorder, segment, camera, link, len(shots))
            link.send('done')
        finally:
            segment.send_signal(signal.SIGINT)
            try:
                segment.wait(timeout=10)
            except subprocess.TimeoutExpired:
                segment.kill()
            camera.terminate()
            camera.join()
            recorder.destroy_node()
            rclpy.try_shutdown()
    if segment.returncode:
        raise DemoError(f'the node ended with status {segment.returncode}; see {log_path}')
    return stamps_ns, recorder.recording


def _node_command(namespace: str, node_args: Sequence[str]) -> list[str]:
    # reliable: what gets lost is then lost to a newer frame, not to a full socket.
    ros_args = ['-r', f'__ns:=/{namespace}', '-p', 'input_reliability:=reliable', *node_args]
    return [sys.executable, '-m', 'fcn_road_seg', 'segment', '--ros-args', *ros_args]


def _wait_until_connected(
    recorder: Recorder, segment: subprocess.Popen[bytes], link: Connection
) -> None:
    """Send single frames until one comes back as mask and overlay; forget these."""
    deadline = time.monotonic() + START_TIMEOUT_S
    # All of them, because a slow network answers one only after the next was sent.
    sent_ns: list[int] = []
    while time.monotonic() < deadline:
        link.send('hello')
        sent_ns += link.recv()
        next_hello = time.monotonic() + HELLO_PERIOD_S
        while time.monotonic() < next_hello:
            rclpy.spin_once(recorder, timeout_sec=0.05)
            if any(map(recorder.recording.has, sent_ns)):
                recorder.recording = Recording(since_ns=time.time_ns())
                return
            if segment.poll() is not None:
                raise DemoError('the node did not start; its log says why')
    raise DemoError(f'the node gave no mask within {START_TIMEOUT_S:g} s; its log says why')


def _record(
    recorder: Recorder,
    segment: subprocess.Popen[bytes],
    camera: multiprocessing.process.BaseProcess,
    link: Connection,
    count: int,
) -> list[int]:
    """Spin until the last frame's mask and overlay are there, or are too late."""
    stamps_ns: list[int] = []
    deadline = float('inf')
    recording = recorder.recording
    with tqdm(total=count, desc='masks', unit='mask') as progress:
        while time.monotonic() < deadline:
            rclpy.spin_once(recorder, timeout_sec=0.05)
            progress.update(len(recording.masks) - progress.n)
            if segment.poll() is not None:
                raise DemoError(f'the node ended with status {segment.returncode}')
            if not stamps_ns and link.poll():
                stamps_ns = link.recv()
                deadline = time.monotonic() + LAST_MASK_TIMEOUT_S
            elif not stamps_ns and not camera.is_alive():
                raise DemoError('the camera process ended early')
            if stamps_ns and recording.has(stamps_ns[-1]):
                break
    return stamps_ns


def summarise(shots: Sequence[Shot], stamps_ns: Sequence[int], recording: Recording) -> dict:
    """Return the figures of a run, as they go to `summary.json`."""
    pairs = [
        (shot.label, recording.masks[stamp])
        for shot, stamp in zip(shots, stamps_ns, strict=True)
        if stamp in recording.masks
        and shot.label is not None
        and shot.label.shape == recording.masks[stamp].shape
    ]
    latency_ms = list(recording.latency_ms.values())
    return {
        'frames_sent': len(stamps_ns),
        'masks_received': len(recording.masks),
        'overlays_received': len(recording.overlays_bgr),
        'frames_dropped': len(stamps_ns) - len(recording.masks),
        'latency_ms': {
            f'p{q}': round(float(np.percentile(latency_ms, q)), 1) if latency_ms else None
            for q in (50, 95)
        },
        'iou': _pooled_iou(pairs),
    }


def _pooled_iou(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    if not pairs:
        return None
    common = sum(np.count_nonzero((label == ROAD) & (mask > 0)) for label, mask in pairs)
    either = sum(np.count_nonzero((label == ROAD) | (mask > 0)) for label, mask in pairs)
    return round(common / max(1, either), 4)


def check(
    shots: Sequence[Shot], stamps_ns: Sequence[int], recording: Recording, summary: dict
) -> None:
    """Raise DemoError if masks are missing, do not fit their frames, or are wrong.

    Frames may be dropped for newer ones, so what must come back is the last one's mask and
    overlay.
    """
    sizes = {stamp: shot.frame_bgr.shape[:2] for shot, stamp in zip(shots, stamps_ns, strict=True)}
    for name, pictures in (('mask', recording.masks), ('overlay', recording.overlays_bgr)):
        if stamps_ns[-1] not in pictures:
            raise DemoError(f'the last of {len(stamps_ns)} frames came back without its {name}')
        for stamp, picture in pictures.items():
            if sizes.get(stamp) != picture.shape[:2]:
                text = f'of size {picture.shape[:2]} with the stamp {stamp} ns'
                raise DemoError(f'the {name} {text} fits no frame')
    if summary['iou'] is not None and summary['iou'] < MIN_IOU:
        raise DemoError(f'the masks agree with the exact labels only to IoU {summary["iou"]}')


def write_pictures(
    out: Path,
    shots: Sequence[Shot],
    stamps_ns: Sequence[int],
    recording: Recording,
    rate_hz: float,
) -> None:
    """Write `contact_sheet.png` (frame, mask, overlay) and `overlay.mp4`."""
    shown = [
        (shot.frame_bgr, recording.masks[stamp], recording.overlays_bgr[stamp])
        for shot, stamp in zip(shots, stamps_ns, strict=True)
        if stamp in recording.masks and stamp in recording.overlays_bgr
    ]
    if not shown:
        return
    chosen = np.linspace(0, len(shown) - 1, min(SHEET_ROWS, len(shown))).astype(int)
    pictures = [
        picture
        for frame_bgr, mask, overlay_bgr in (shown[i] for i in chosen)
        for picture in (frame_bgr, cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), overlay_bgr)
    ]
    contact_sheet = sheet(pictures, columns=3, cell_width=SHEET_COLUMN_WIDTH)
    cv2.imwrite(str(out / 'contact_sheet.png'), contact_sheet)

    h, w = (side // 2 * 2 for side in shown[0][0].shape[:2])
    video = cv2.VideoWriter(
        str(out / 'overlay.mp4'),
        cv2.VideoWriter.fourcc(*'mp4v'),
        max(1.0, rate_hz * len(shown) / len(shots)),
        (w, h),
    )
    for _, _, overlay_bgr in shown:
        video.write(letterboxed(overlay_bgr, (h, w)))
    video.release()


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo',
        description='Send camera frames through the node over ROS 2 and show what it makes.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='real frames, of any sizes')
    parser.add_argument('--frames', type=int, default=60, help='number of rendered frames')
    parser.add_argument('--seed', type=int, default=2_000_000, help='of the first rendered drive')
    parser.add_argument('--rate', type=float, default=10.0, metavar='HZ')
    parser.add_argument('--out', type=Path, default=Path('demo_out'), help='folder to write to')
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='for the node, such as device:=cpu; may be given several times',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 if every check held."""
    args = parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    node_args = [word for parameter in args.parameter for word in ('-p', parameter)]
    try:
        images, frames = args.images, args.frames
        shots = image_shots(images) if images else rendered_shots(frames, args.seed)
        stamps_ns, recording = play(shots, args.rate, node_args, args.out / 'node.log')
        summary = summarise(shots, stamps_ns, recording)
        (args.out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        write_pictures(args.out, shots, stamps_ns, recording, args.rate)
        latency_ms = summary['latency_ms']
        print(
            f'{summary["frames_sent"]} frames sent at {args.rate:g} Hz, '
            f'{summary["masks_received"]} masks received, '
            f'{summary["frames_dropped"]} dropped for a newer frame; '
            f'latency p50 {latency_ms["p50"]} ms, p95 {latency_ms["p95"]} ms'
        )
        if summary['iou'] is not None:
            print(f'IoU of the masks with the exact labels: {summary["iou"]:.3f}')
        check(shots, stamps_ns, recording, summary)
    except DemoError as error:
        print(f'demo: {error}', file=sys.stderr)
        return 1
    print(f'look at {args.out}/contact_sheet.png and {args.out}/overlay.mp4')
    return 0


def _stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


if __name__ == '__main__':
    raise SystemExit(main())
