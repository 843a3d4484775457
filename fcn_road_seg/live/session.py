"""A live session: the node, its camera and a recorder, connected over ROS 2."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
from tqdm import tqdm

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.camera_process import running_camera
from fcn_road_seg.live.diagnostics_listener import values_of
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.live.node_process import running_node
from fcn_road_seg.live.recorder import Recorder, Recording

START_TIMEOUT_S = 90.0
HELLO_PERIOD_S = 2.0
# A CPU takes about a second for a frame, and the last one waits for the one before it.
LAST_MASK_TIMEOUT_S = 30.0


class LiveSession:
    """A running node with its camera and recorder; `process` is the node's."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        camera: Connection,
        recorder: Recorder,
        log_path: Path,
    ) -> None:
        self.process = process
        self._camera = camera
        self._recorder = recorder
        self._log_path = log_path
        self._is_connected = False
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(recorder)

    def connect(self) -> None:
        """Send single frames until one comes back on every topic.

        Raises:
            LiveError: that took too long, or the node or the camera ended.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        recording = self._recorder.start_recording()
        while not recording.has_any():
            if time.monotonic() > deadline_s:
                raise self._error(f'published no mask within {START_TIMEOUT_S:g} s')
            self._send([0.0])
            # The answer to any frame is enough: a slow node answers after the next one was sent.
            self._spin_until(recording.has_any, HELLO_PERIOD_S)
        self._is_connected = True

    def stream(self, offsets_s: Sequence[float]) -> Recording:
        """Send one message at each time (s); return what came back.

        Waits at most LAST_MASK_TIMEOUT_S for the answer to the last frame.

        Raises:
            LiveError: the node or the camera ended.
        """
        recording = self._recorder.start_recording()
        with tqdm(total=len(offsets_s), desc='masks', unit='mask') as progress:

            def show_progress() -> None:
                progress.update(len(recording.latency_ms['mask']) - progress.n)

            recording.stamps_ns = self._send(offsets_s, show_progress)
            self._spin_until(recording.has_last, LAST_MASK_TIMEOUT_S, show_progress)
        return recording

    def next_status(self) -> dict[str, str]:
        """Return the values of the node's next status on /diagnostics, by key.

        Raises:
            LiveError: the node publishes none, or ended.
        """
        try:
            return values_of(self._recorder.diagnostics.next(self._spin_once))
        except TimeoutError as error:
            raise self._error(f'published {error}') from error

    def _send(
        self, offsets_s: Sequence[float], after_spin: Callable[[], None] = lambda: None
    ) -> list[int]:
        """Have the camera publish; return the stamps in ns."""
        try:
            self._camera.send(offsets_s)
            self._spin_until(self._camera.poll, float('inf'), after_spin)
            return self._camera.recv()
        except (EOFError, OSError) as error:
            raise LiveError('the camera process ended early') from error

    def _spin_until(
        self,
        is_done: Callable[[], bool],
        timeout_s: float,
        after_spin: Callable[[], None] = lambda: None,
    ) -> None:
        """Spin until `is_done()` or the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while not is_done() and time.monotonic() < deadline_s:
            self._spin_once()
            after_spin()

    def _spin_once(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        status = self.process.poll()
        if status is not None:
            text = 'ended' if self._is_connected else 'ended during startup'
            raise self._error(f'{text} with status {status}')

    def _error(self, text: str) -> LiveError:
        return LiveError(f'the node {text}; see {self._log_path}')


@contextmanager
def live_session(
    messages: Sequence[CameraMessage],
    parameters: Sequence[str],
    log_path: Path,
    topics: Sequence[str] = ('mask', 'overlay'),
    *,
    keep_pictures: bool = False,
) -> Iterator[LiveSession]:
    """Start the node, a camera of `messages` (all of one type) and a recorder; end all afterwards.

    `parameters` are the node's, each NAME:=VALUE, and its output goes to `log_path`. The recorder
    subscribes only to `topics`, which must include 'mask', so the node makes nothing else.

    Raises:
        LiveError: ROS, the node or the camera did not start.
    """
    # No other machine may take part.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    namespace = f'live_{os.getpid()}'
    topic = f'/{namespace}/image'
    if messages[0].type is CompressedImage:
        topic += '/compressed'
        parameters = ['image_transport:=compressed', *parameters]
    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        # Of the environment: a log folder that cannot be written to, a bad ROS_DOMAIN_ID.
        raise LiveError(f'ROS 2 cannot start: {error}') from error
    recorder = Recorder(namespace, topics, keep_pictures=keep_pictures)
    try:
        with (
            log_path.open('w') as log,
            running_camera(messages, topic) as camera,
            running_node(namespace, parameters, log) as process,
        ):
            session = LiveSession(process, camera, recorder, log_path)
            session.connect()
            yield session
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()
