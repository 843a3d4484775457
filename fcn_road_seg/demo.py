"""The newcomer's run: a camera, the node and a recorder, each its own process, over ROS 2."""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from fcn_road_seg.datasets import ROAD
from fcn_road_seg.demo_sources import (
    BAG_FRAMES,
    RATE_HZ,
    RENDERED_FRAMES,
    DemoError,
    Shot,
    bag_shots,
    image_shots,
    rendered_shots,
)
from fcn_road_seg.helper_process import helper_process
from fcn_road_seg.image_msgs import to_frame
from fcn_road_seg.live_node import StatusListener, frames_between, running_node
from fcn_road_seg.pictures import sheet
from fcn_road_seg.video import VideoError, written_video

START_TIMEOUT_S = 90.0
HELLO_PERIOD_S = 2.0
# A CPU takes about a second for a frame, and the last one waits for the one before it.
LAST_MASK_TIMEOUT_S = 30.0
MIN_IOU = 0.8
SHEET_ROWS = 8
SHEET_COLUMN_WIDTH = 480


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
        self.status = StatusListener(self, namespace)
        deep = QoSProfile(depth=100)
        self.create_subscription(Image, 'fcn_road_seg/mask', self._on_mask, deep)
        self.create_subscription(Image, 'fcn_road_seg/overlay', self._on_overlay, deep)

    def _on_mask(self, msg: Image) -> None:
        mask = cv2.extractChannel(to_frame(msg).pixels, 0)
        self.recording.add_mask(_stamp_ns(msg.header), mask)

    def _on_overlay(self, msg: Image) -> None:
        self.recording.add_overlay(_stamp_ns(msg.header), to_frame(msg).pixels)


def run_camera(folder: Path, offsets_s: Sequence[float], topic: str, link: Connection) -> None:
    """Publish the messages (.cdr) of `folder`: the first for 'hello', all of them for 'stream'.

    Stamps them anew and answers with the stamps in ns, until it is ended from outside: a publisher
    that leaves by itself takes its undelivered frames along.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('demo_camera')
    image_type = CompressedImage if topic.endswith('/compressed') else Image
    publisher = node.create_publisher(image_type, topic, 1)
    paths = sorted(folder.glob('*.cdr'))
    while True:
        command = link.recv()
        stamps_ns = []
        start = time.monotonic()
        count = len(paths) if command == 'stream' else 1
        for path, offset_s in islice(zip(paths, offsets_s, strict=True), count):
            cdr = path.read_bytes()
            time.sleep(max(0.0, start + offset_s - time.monotonic()))
            stamps_ns.append(node.get_clock().now().nanoseconds)
            publisher.publish(stamped(cdr, stamps_ns[-1]))
        link.send(stamps_ns)


def stamped(cdr: bytes, stamp_ns: int) -> bytes:
    """Return a serialised Image or CompressedImage, which begins with its stamp, with another."""
    # 4 bytes of encapsulation, of which the second tells the byte order.
    sec_nanosec = struct.pack('<iI' if cdr[1] & 1 else '>iI', *divmod(stamp_ns, 1_000_000_000))
    return cdr[:4] + sec_nanosec + cdr[12:]


def play(
    shots: Sequence[Shot], parameters: Sequence[str], log_path: Path
) -> tuple[list[int], Recording, dict[str, int]]:
    """Send `shots`, all of one type, through a node with `parameters`, each NAME:=VALUE.

    Returns their stamps in ns, what came back, and what the node says became of them.

    Raises:
        DemoError: the node or the camera did not start, or ended on the way.
    """
    # Of its own, so that nothing else on this machine or network takes part.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    namespace = f'demo_{os.getpid()}'
    topic = f'/{namespace}/image'
    if shots[0].type is CompressedImage:
        topic += '/compressed'
        parameters = ['image_transport:=compressed', *parameters]
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    recorder = Recorder(namespace)
    # reliable: what gets lost is then lost to a newer frame, not to a full socket.
    parameters = ['input_reliability:=reliable', *parameters]
    offsets_s = [shot.offset_s for shot in shots]
    try:
        with tempfile.TemporaryDirectory() as folder, log_path.open('w') as log:
            for index, shot in enumerate(shots):
                Path(folder, f'{index:06d}.cdr').write_bytes(shot.cdr)
            with (
                helper_process(run_camera, Path(folder), offsets_s, topic) as link,
                running_node(namespace, parameters, log) as segment,
            ):
                print(f'starting the node (its log: {log_path})')
                _wait_until_connected(recorder, segment, link)
                before = _next_status(recorder, segment)
                link.send('stream')
                stamps_ns = _record(recorder, segment, link, len(shots))
                became = frames_between(before, _next_status(recorder, segment))
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise DemoError('the camera process ended early') from error
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()
    if segment.returncode:
        raise DemoError(f'the node ended with status {segment.returncode}; see {log_path}')
    return stamps_ns, recorder.recording, became


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
    link: Connection,
    count: int,
) -> list[int]:
    """Spin until the last frame's mask and overlay are there, or are too late."""
    stamps_ns: list[int] = []
    deadline = float('inf')
    recording = recorder.recording
    with tqdm(total=count, desc='masks', unit='mask') as progress:
        while time.monotonic() < deadline:
            _spin_once(recorder, segment)
            progress.update(len(recording.masks) - progress.n)
            if not stamps_ns and link.poll():
                stamps_ns = link.recv()
                deadline = time.monotonic() + LAST_MASK_TIMEOUT_S
            if stamps_ns and recording.has(stamps_ns[-1]):
                break
    return stamps_ns


def _next_status(recorder: Recorder, segment: subprocess.Popen[bytes]) -> dict[str, str]:
    try:
        return recorder.status.next(lambda: _spin_once(recorder, segment))
    except TimeoutError as error:
        raise DemoError(f'the node gives {error}; its log may say why') from error


def _spin_once(recorder: Recorder, segment: subprocess.Popen[bytes]) -> None:
    rclpy.spin_once(recorder, timeout_sec=0.05)
    if segment.poll() is not None:
        raise DemoError(f'the node ended with status {segment.returncode}; its log may say why')


def summarise(
    shots: Sequence[Shot],
    stamps_ns: Sequence[int],
    recording: Recording,
    became: Mapping[str, int],
) -> dict:
    """Return the figures of a run, as they go to `summary.json`.

    `became` is what the node says of the frames: not all without a mask were dropped by it.
    """
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
        **became,
        'masks_received': len(recording.masks),
        'overlays_received': len(recording.overlays_bgr),
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
    sent = dict(zip(stamps_ns, shots, strict=True))
    for name, pictures in (('mask', recording.masks), ('overlay', recording.overlays_bgr)):
        if stamps_ns[-1] not in pictures:
            raise DemoError(f'the last of {len(stamps_ns)} frames came back without its {name}')
        for stamp, picture in pictures.items():
            if stamp not in sent or sent[stamp].frame_bgr().shape != (*picture.shape[:2], 3):
                text = f'of size {picture.shape[:2]} with the stamp {stamp} ns'
                raise DemoError(f'the {name} {text} fits no frame')
    if summary['iou'] is not None and summary['iou'] < MIN_IOU:
        raise DemoError(f'the masks agree with the exact labels only to IoU {summary["iou"]}')


def write_pictures(
    out: Path, shots: Sequence[Shot], stamps_ns: Sequence[int], recording: Recording
) -> None:
    """Write `contact_sheet.png` (frame, mask, overlay) and `overlay.mp4`."""
    shown = [
        (shot, recording.masks[stamp], recording.overlays_bgr[stamp])
        for shot, stamp in zip(shots, stamps_ns, strict=True)
        if stamp in recording.masks and stamp in recording.overlays_bgr
    ]
    if not shown:
        return
    chosen = np.linspace(0, len(shown) - 1, min(SHEET_ROWS, len(shown))).astype(int)
    pictures = [
        picture
        for shot, mask, overlay_bgr in (shown[i] for i in chosen)
        for picture in (shot.frame_bgr(), cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), overlay_bgr)
    ]
    contact_sheet = sheet(pictures, columns=3, cell_width=SHEET_COLUMN_WIDTH)
    cv2.imwrite(str(out / 'contact_sheet.png'), contact_sheet)

    rate_hz = max(1.0, mean_rate_hz(shots) * len(shown) / len(shots))
    with written_video(out / 'overlay.mp4', rate_hz) as show:
        for _, _, overlay_bgr in shown:
            show(overlay_bgr)


def mean_rate_hz(shots: Sequence[Shot]) -> float:
    """Return how many of the shots go out in a second, on average."""
    duration_s = shots[-1].offset_s - shots[0].offset_s
    return (len(shots) - 1) / duration_s if duration_s > 0 else RATE_HZ


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo',
        description='Send camera frames through the node over ROS 2 and show what it makes.',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--images', type=Path, metavar='DIR', help='real frames, of any sizes')
    source.add_argument('--bag', type=Path, help='folder or file of a rosbag2 with images')
    parser.add_argument('--topic', default='', help="of the bag's images, if it has several")
    parser.add_argument(
        '--frames',
        type=int,
        metavar='N',
        help=f'number of rendered frames (default: {RENDERED_FRAMES}), or at most so many of the '
        f'pictures (default: all) or the bag (default: {BAG_FRAMES})',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=2_000_000,
        help='of the first rendered drive (default: %(default)s)',
    )
    rate_help = f"default: {RATE_HZ:g}, or the bag's own pace"
    parser.add_argument('--rate', type=float, metavar='HZ', help=rate_help)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_out'),
        help='folder to write to (default: %(default)s)',
    )
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        metavar='NAME:=VALUE',
        help='for the node, such as device:=cpu; may be given several times',
    )
    args = parser.parse_args(argv)
    if args.topic and not args.bag:
        parser.error(f'--topic {args.topic} is for a bag; give --bag PATH')
    if args.frames is not None and args.frames < 1:
        parser.error(f'--frames {args.frames} is too small; use at least 1')
    if args.rate is not None and not 0 < args.rate < float('inf'):
        parser.error(f'--rate {args.rate} is no rate; use more than 0')
    return args


def shots_of(args: argparse.Namespace) -> list[Shot]:
    """Render or read what the arguments ask for; raise DemoError where there is nothing."""
    if args.bag:
        shots = bag_shots(args.bag, args.topic, args.frames)
    elif args.images:
        shots = image_shots(args.images, args.frames)
    else:
        shots = rendered_shots(args.frames or RENDERED_FRAMES, args.seed)
    if args.rate is None:
        return shots
    return [replace(shot, offset_s=i / args.rate) for i, shot in enumerate(shots)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 if every check held, or 130 after an interrupt."""
    args = parse_args(argv)
    # Its default would leave the node running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        shots = shots_of(args)
        stamps_ns, recording, became = play(shots, args.parameter, args.out / 'node.log')
        summary = summarise(shots, stamps_ns, recording, became)
        (args.out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        write_pictures(args.out, shots, stamps_ns, recording)
        latency_ms = summary['latency_ms']
        print(
            f'{summary["frames_sent"]} frames sent at {mean_rate_hz(shots):.3g} Hz, '
            f'{became["frames_received"]} received by the node, '
            f'{became["frames_segmented"]} segmented, '
            f'{became["frames_dropped"]} dropped for a newer frame, '
            f'{became["frames_refused"]} refused; '
            f'{summary["masks_received"]} masks received, '
            f'latency p50 {latency_ms["p50"]} ms, p95 {latency_ms["p95"]} ms'
        )
        if summary['iou'] is not None:
            print(f'IoU of the masks with the exact labels: {summary["iou"]:.3f}')
        check(shots, stamps_ns, recording, summary)
    except (DemoError, VideoError, OSError) as error:
        print(f'demo: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('demo: interrupted', file=sys.stderr)
        return 130
    print(f'look at {args.out}/contact_sheet.png and {args.out}/overlay.mp4')
    return 0


def _stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


if __name__ == '__main__':
    raise SystemExit(main())
