"""camera process, node process, recorder"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from tqdm import tqdm

from fcn_road_seg.live.camera_process import CameraMessage, DemoError, run_camera
from fcn_road_seg.live.diagnostics_listener import frames_between
from fcn_road_seg.live.node_process import running_node
from fcn_road_seg.live.recorder import Recorder, Recording
from fcn_road_seg.utils.child_process import child_process

START_TIMEOUT_S = 90.0
HELLO_PERIOD_S = 2.0
# A CPU takes about a second for a frame, and the last one waits for the one before it.
LAST_MASK_TIMEOUT_S = 30.0


def play(
    messages: Sequence[CameraMessage], parameters: Sequence[str], log_path: Path
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
    if messages[0].type is CompressedImage:
        topic += '/compressed'
        parameters = ['image_transport:=compressed', *parameters]
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    recorder = Recorder(namespace)
    # reliable: what gets lost is then lost to a newer frame, not to a full socket.
    parameters = ['input_reliability:=reliable', *parameters]
    offsets_s = [message.offset_s for message in messages]
    try:
        with tempfile.TemporaryDirectory() as folder, log_path.open('w') as log:
            for index, message in enumerate(messages):
                Path(folder, f'{index:06d}.cdr').write_bytes(message.cdr)
            with (
                child_process(run_camera, Path(folder), offsets_s, topic) as link,
                running_node(namespace, parameters, log) as segment,
            ):
                print(f'starting the node (its log: {log_path})')
                _wait_until_connected(recorder, segment, link)
                before = _next_status(recorder, segment)
                link.send('stream')
                stamps_ns = _record(recorder, segment, link, len(messages))
                frame_counts = frames_between(before, _next_status(recorder, segment))
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise DemoError('the camera process ended early') from error
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()
    if segment.returncode:
        raise DemoError(f'the node ended with status {segment.returncode}; see {log_path}')
    return stamps_ns, recorder.recording, frame_counts


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
