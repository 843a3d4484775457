"""Live nodes under load: the frames they received and segmented, and what that cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import rclpy
from rclpy.signals import SignalHandlerOptions

from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.camera_process import running_camera
from fcn_road_seg.live.node_process import running_node
from fcn_road_seg.live.recorder import Recorder
from fcn_road_seg.live.session import LiveSession
from fcn_road_seg.synthetic import SyntheticDrive

ENDS = ('segmented', 'dropped', 'too old', 'refused', 'ignored')
PIECE_S = 10.0


@dataclass(frozen=True)
class LiveNode:
    """A node, its camera and a recorder of its masks, each but the last a process of its own."""

    session: LiveSession
    camera: Connection
    recorder: Recorder

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.session.process.pid)

    def network_s(self) -> float:
        """Return the time of the network (s), measured with frames that come one by one."""
        for _ in range(5):
            self.session.stream([0.0])
        return float(self.session.next_status()['inference p50 (ms)']) / 1e3

    def status(self) -> dict[str, str]:
        """Return a status that the node made after this call, even if none was read for long."""
        while True:
            begin_s = time.monotonic()
            status = self.session.next_status()
            # Queued ones arrive at once.
            if time.monotonic() - begin_s > 0.5:
                return status

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def live_nodes(
    names: Sequence[str], parameters: Sequence[str], frame_hw: tuple[int, int], folder: Path
) -> Iterator[list[LiveNode]]:
    """Start a node per namespace, with a camera of rendered (H, W) frames; end all afterwards."""
    drive = SyntheticDrive(3_000_002, frame_hw)
    messages = [CameraMessage.from_frame(drive.render(t_s)[0]) for t_s in (0.0, 0.1)]
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        nodes = []
        for name in names:
            recorder = Recorder(name, ('mask',), keep_pictures=False)
            stack.callback(recorder.destroy_node)
            log_path = folder / f'{name}.log'
            log = stack.enter_context(log_path.open('w'))
            camera = stack.enter_context(running_camera(messages, f'/{name}/image'))
            process = stack.enter_context(running_node(name, parameters, log))
            session = LiveSession(process, camera, recorder, log_path)
            nodes.append(LiveNode(session, camera, recorder))
        for node in nodes:
            node.session.connect()
        yield nodes


def evenly(rate_hz: float, seconds: float) -> list[float]:
    return [index / rate_hz for index in range(max(1, round(rate_hz * seconds)))]


def counts_between(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    names = ('received', 'lost', *ENDS)
    return {name: int(after[f'frames {name}']) - int(before[f'frames {name}']) for name in names}


@dataclass(frozen=True)
class Overload:
    """A stream at a multiple of the node's rate; `counts` is what became of its frames.

    The percentiles (ms) are the node's own, of the last ten seconds: from stamp to publishing, and
    of the network.
    """

    sent: int
    rate_hz: float
    counts: dict[str, int]
    latency_ms: dict[int, float]
    network_ms: dict[int, float]


def overload(node: LiveNode, *, seconds: float, factor: float = 10.0) -> Overload:
    """Send frames at `factor` times the node's rate, and count where they went."""
    offsets_s = evenly(factor / node.network_s(), seconds)
    before = node.session.next_status()
    stamps_ns = node.session.stream(offsets_s).stamps_ns
    status = node.session.next_status()
    # The node notices lost frames only when a later one arrives.
    last = node.session.stream([0.0])
    return Overload(
        sent=len(stamps_ns) + len(last.stamps_ns),
        rate_hz=(len(stamps_ns) - 1) * 1e9 / (stamps_ns[-1] - stamps_ns[0]),
        counts=counts_between(before, node.session.next_status()),
        latency_ms={p: float(status[f'latency p{p} (ms)']) for p in (50, 95, 99)},
        network_ms={p: float(status[f'inference p{p} (ms)']) for p in (50, 95, 99)},
    )


def receive_share(node: LiveNode, rate_hz: float, seconds: float) -> float:
    """Return the share of a core that the node takes to receive frames that nobody wants.

    The node has no listener afterwards.
    """
    (mask,) = (s for s in node.recorder.subscriptions if s.topic.endswith('/mask'))
    node.recorder.destroy_subscription(mask)
    before = node.status()
    begin_s, begin_cpu_s = time.monotonic(), node.cpu_s()
    node.camera.send(evenly(rate_hz, seconds))
    node.camera.recv()
    share = (node.cpu_s() - begin_cpu_s) / (time.monotonic() - begin_s)
    counts = counts_between(before, node.status())
    assert counts['received']
    assert not counts['segmented']
    return share


def latencies_each_ms(
    nodes: Sequence[LiveNode], rate_hz: float, seconds: float
) -> list[list[float]]:
    """Let all cameras send at once; return each node's times from stamp to receipt (ms)."""
    offsets_s = evenly(rate_hz, seconds)
    with ThreadPoolExecutor(len(nodes)) as pool:
        recordings = list(pool.map(lambda node: node.session.stream(offsets_s), nodes))
    return [list(recording.latency_ms['mask'].values()) for recording in recordings]


@dataclass(frozen=True)
class Sample:
    """A node's resources after a piece of a soak test, and the piece's median latency (ms)."""

    rss_mib: float
    threads: int
    files: int
    latency_ms: float


def soak(
    node: LiveNode, *, frames: int = 0, seconds: float = 0.0, factor: float = 1.5
) -> list[Sample]:
    """Send more than the node can take until it has segmented `frames` and `seconds` are over."""
    rate_hz = factor / node.network_s()
    begin, end_s = node.session.next_status(), time.monotonic() + seconds
    segmented, samples = 0, []
    while segmented < frames or time.monotonic() < end_s:
        recording = node.session.stream(evenly(rate_hz, PIECE_S))
        segmented = counts_between(begin, node.session.next_status())['segmented']
        process = node.process
        samples.append(
            Sample(
                process.memory_info().rss / 2**20,
                process.num_threads(),
                process.num_fds(),
                statistics.median(recording.latency_ms['mask'].values()),
            )
        )
    return samples


def growth(samples: Sequence[Sample], name: str) -> float:
    """Return the last third's median over that of the first third after the warm-up.

    The warm-up is a quarter of the samples.
    """
    values = [getattr(sample, name) for sample in samples[len(samples) // 4 :]]
    third = max(1, len(values) // 3)
    return float(statistics.median(values[-third:]) / statistics.median(values[:third]))
