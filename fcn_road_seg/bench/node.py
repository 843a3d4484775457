"""The live node between a camera and a listener, each a process of its own, over ROS 2."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tqdm import tqdm

from fcn_road_seg.bench.errors import BenchError, NodeBenchError
from fcn_road_seg.bench.machine import peak_memory_mib
from fcn_road_seg.live.diagnostics_listener import StatusListener, frames_between
from fcn_road_seg.live.node_process import running_node
from fcn_road_seg.messages.image import image_msg
from fcn_road_seg.utils.child_process import child_process


def measure_node(
    frames_bgr: np.ndarray, rate_hz: float, count: int, parameters: Sequence[str], out: Path
) -> dict[str, Any]:
    """Return the live node's figures for `count` frames with the overlay off, and as many with it.

    The camera repeats `frames_bgr`, (N, H, W, 3) uint8. The node's logs go to the folder `out`.

    Raises:
        BenchError: the node did not start or ended on the way.
    """
    from fcn_road_seg.bench.errors import NodeBenchError
    from fcn_road_seg.bench.node import watched_node

    report: dict[str, Any] = {'rate_hz': rate_hz, 'parameters': parameters}
    try:
        for overlay in (False, True):
            name = 'overlay_on' if overlay else 'overlay_off'
            with watched_node(
                frames_bgr, parameters, out / f'{name}.log', overlay=overlay
            ) as node:
                report[name] = node.watch(rate_hz, count)
    except NodeBenchError as error:
        raise BenchError(str(error)) from error
    return report


PERCENTILES = (50, 95, 99)
START_TIMEOUT_S = 90.0
HELLO_PERIOD_S = 2.0
# For the frame at work and the one that waits behind it, on a slow CPU.
LAST_MASK_TIMEOUT_S = 30.0


def run_camera(path: Path, topic: str, link: Connection) -> None:
    """Publish the frames of a file (.npy, (N, H, W, 3) uint8 BGR) over and over.

    Takes (count, rate in Hz) pairs and answers each with the stamps in ns, until it is ended from
    outside: a publisher that leaves by itself takes its undelivered frames along.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('bench_camera')
    publisher = node.create_publisher(Image, topic, 1)
    frames_bgr = np.load(path)
    while True:
        count, rate_hz = link.recv()
        stamps_ns = []
        start_s = time.monotonic()
        for index in range(count):
            time.sleep(max(0.0, start_s + index / rate_hz - time.monotonic()))
            stamps_ns.append(time.time_ns())
            header = Header(frame_id='bench_camera')
            header.stamp.sec, header.stamp.nanosec = divmod(stamps_ns[-1], 1_000_000_000)
            publisher.publish(image_msg(frames_bgr[index % len(frames_bgr)], 'bgr8', header))
        link.send(stamps_ns)


class Listener(Node):
    """When which output was received: `latency_ms[topic]` by stamp in ns."""

    def __init__(self, namespace: str, topics: Sequence[str]) -> None:
        super().__init__('bench_listener', namespace=namespace)
        self.latency_ms: dict[str, dict[int, float]] = {topic: {} for topic in topics}
        self.status = StatusListener(self, namespace)
        for topic in topics:
            name = f'fcn_road_seg/{topic}'
            self.create_subscription(Image, name, self._noting(self.latency_ms[topic]), 10)

    def _noting(self, latency_ms: dict[int, float]) -> Callable[[Image], None]:
        def note(msg: Image) -> None:
            stamp_ns = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
            latency_ms[stamp_ns] = (time.time_ns() - stamp_ns) / 1e6

        return note


class LiveSession:
    """A node that runs, between a camera and a listener."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        camera: Connection,
        listener: Listener,
        log_path: Path,
    ) -> None:
        self._process = process
        self._camera = camera
        self._listener = listener
        self._log_path = log_path
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(listener)

    def connect(self) -> None:
        """Send single frames until one comes back on every topic.

        Raises:
            NodeBenchError: that took too long, or the node or the camera ended.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        outputs = self._listener.latency_ms.values()
        while not all(outputs):
            if time.monotonic() > deadline_s:
                raise self._error(f'gave no mask within {START_TIMEOUT_S:g} s')
            self._send(1, 1.0)
            self._spin_until(lambda: all(outputs), HELLO_PERIOD_S)

    def watch(self, rate_hz: float, count: int) -> dict[str, Any]:
        """Send `count` frames at `rate_hz`; return what became of them, ready for JSON.

        Raises:
            NodeBenchError: the node or the camera ended on the way.
        """
        before, cpu_before_s = self._next_status(), _cpu_s(self._process.pid)
        with tqdm(total=count, desc='masks', unit='mask') as progress:
            stamps_ns = self._send(count, rate_hz, progress)
        outputs = self._listener.latency_ms
        self._spin_until(
            lambda: all(stamps_ns[-1] in received for received in outputs.values()),
            LAST_MASK_TIMEOUT_S,
        )
        cpu_s = _cpu_s(self._process.pid) - cpu_before_s
        after = self._next_status()
        frame_counts = frames_between(before, after)
        latency_ms = {
            topic: [received[stamp] for stamp in stamps_ns if stamp in received]
            for topic, received in outputs.items()
        }
        return {
            'backend': after['backend'],
            'device': after['device'],
            'precision': after['precision'],
            'sent_hz': _mean_hz(stamps_ns),
            'frames_sent': count,
            **frame_counts,
            **{f'{topic}s_received': len(values) for topic, values in latency_ms.items()},
            **{f'{topic}_latency_ms': _percentiles(v) for topic, v in latency_ms.items()},
            'inference_ms': _told_percentiles(after, 'inference'),
            'overhead_ms': _told_percentiles(after, 'overhead'),
            'cpu_ms_per_frame': round(1e3 * cpu_s / max(1, frame_counts['frames_segmented']), 1),
            'peak_memory_mib': peak_memory_mib(self._process.pid),
        }

    def _send(self, count: int, rate_hz: float, progress: tqdm | None = None) -> list[int]:
        """Have frames sent; return their stamps in ns."""
        masks = self._listener.latency_ms['mask']
        earlier = len(masks)
        try:
            self._camera.send((count, rate_hz))
            while not self._camera.poll():
                self._spin_once()
                if progress is not None:
                    progress.update(len(masks) - earlier - progress.n)
            return self._camera.recv()
        except (EOFError, OSError) as error:
            raise self._error('lost its camera, which ended early') from error

    def _next_status(self) -> dict[str, str]:
        try:
            return self._listener.status.next(self._spin_once)
        except TimeoutError as error:
            raise self._error(f'gives {error}') from error

    def _spin_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Spin until `done` or the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline_s:
            self._spin_once()

    def _spin_once(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)
        if self._process.poll() is not None:
            raise self._error(f'ended with status {self._process.returncode}')

    def _error(self, text: str) -> NodeBenchError:
        return NodeBenchError(f'the node {text}; {self._log_path} may say why')


@contextmanager
def watched_node(
    frames_bgr: np.ndarray, parameters: Sequence[str], log_path: Path, *, overlay: bool
) -> Iterator[LiveSession]:
    """Start the node, and a camera of `frames_bgr` (N, H, W, 3) uint8; end both after.

    `parameters` are the node's, each NAME:=VALUE. Only with `overlay` somebody listens to it.

    Raises:
        NodeBenchError: the node gives no mask.
    """
    # Of its own, so that nothing else on this machine or network takes part.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    namespace = f'bench_{os.getpid()}'
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    listener = Listener(namespace, ('mask', 'overlay') if overlay else ('mask',))
    try:
        with (
            log_path.open('w') as log,
            running_node(namespace, parameters, log) as process,
            _running_camera(namespace, frames_bgr) as camera,
        ):
            node = LiveSession(process, camera, listener, log_path)
            node.connect()
            yield node
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()


@contextmanager
def _running_camera(namespace: str, frames_bgr: np.ndarray) -> Iterator[Connection]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'frames.npy')
        np.save(path, frames_bgr)
        with child_process(run_camera, path, f'/{namespace}/image') as link:
            yield link


def _mean_hz(stamps_ns: Sequence[int]) -> float | None:
    if len(stamps_ns) < 2:
        return None
    return round((len(stamps_ns) - 1) * 1e9 / (stamps_ns[-1] - stamps_ns[0]), 2)


def _percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    return {
        f'p{p}': round(float(np.percentile(values_ms, p)), 2) if values_ms else None
        for p in PERCENTILES
    }


def _told_percentiles(status: dict[str, str], of: str) -> dict[str, float | None]:
    """Return what the node's diagnostics say, which is of its last ten seconds."""
    told = {f'p{p}': status[f'{of} p{p} (ms)'] for p in PERCENTILES}
    return {name: None if text == 'n/a' else float(text) for name, text in told.items()}


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, in s, of all its threads."""
    # Behind the name, which may hold spaces, in parentheses.
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')
