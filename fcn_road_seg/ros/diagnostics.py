"""The node's health as a DiagnosticStatus: level, message and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from fcn_road_seg.ros.frame_statistics import FrameStatistics, StatisticsSnapshot

PERIOD_S = 1.0
STALE_AFTER_S = 2.0


@dataclass(frozen=True)
class NodeStatus:
    """The node's state apart from its frame statistics; empty texts are shown as 'n/a' or 'none'.

    `name` is the node's, with its namespace; `state` is its lifecycle state ('active', ...).
    `incompatible_qos` says which QoS settings keep frames away, `input_hint` what to change if
    nobody publishes the topic, and `ground_problem` why subscribers get no grid; each may be
    empty. `frames_waiting` is the length of the queue, and `max_image_age_s` the age limit of a
    frame (0: no limit). The first 12 characters of the checkpoint's hash are shown.
    """

    name: str
    state: str
    enabled: bool = True
    input_topic: str = ''
    input_reliability: str = ''
    incompatible_qos: str = ''
    input_hint: str = ''
    ground_problem: str = ''
    frames_waiting: int = 0
    max_image_age_s: float = 0.0
    device: str = ''
    precision: str = ''
    precision_reason: str = ''
    backend: str = ''
    gpu_memory_mib: float | None = None
    checkpoint_sha256: str = ''


class DiagnosticsPublisher:
    """Publishes the diagnostics of `statistics` and `status()` every PERIOD_S."""

    def __init__(
        self, node: Node, statistics: FrameStatistics, status: Callable[[], NodeStatus]
    ) -> None:
        self._node = node
        self._statistics = statistics
        self._status = status
        self._publisher = node.create_publisher(
            DiagnosticArray,
            '/diagnostics',
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        # Simulated time may stand still, run fast or jump back.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, clock=clock)

    def _publish(self) -> None:
        array = DiagnosticArray(status=[diagnose(self._statistics, self._status())])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def diagnose(statistics: FrameStatistics, status: NodeStatus) -> DiagnosticStatus:
    """Return a status: its level, its message, and the values of KEYS in their order."""
    frames = statistics.snapshot()
    level, message = _judge(frames, status)
    return DiagnosticStatus(
        level=level,
        name=f'{status.name}: segmentation',
        message=message,
        hardware_id=status.device,
        values=[KeyValue(key=k, value=value) for k, value in _values(frames, status).items()],
    )


def _values(frames: StatisticsSnapshot, status: NodeStatus) -> dict[str, str]:
    return {
        'state': status.state,
        'enabled': str(status.enabled).lower(),
        'input topic': status.input_topic or 'n/a',
        'input reliability': status.input_reliability or 'n/a',
        'incompatible QoS': status.incompatible_qos or 'none',
        'input rate (Hz)': _decimal(frames.input_hz),
        'output rate (Hz)': _decimal(frames.output_hz),
        **{f'frames {name}': str(count) for name, count in frames.totals.items()},
        'frames waiting': str(status.frames_waiting),
        'frames without usable stamp': str(frames.without_stamp),
        'frames without ground': str(frames.without_ground),
        'ground problem': status.ground_problem or 'none',
        'last error': frames.last_error or 'none',
        **{f'latency p{p} (ms)': _decimal(ms, 2) for p, ms in frames.latency_ms.items()},
        **{f'inference p{p} (ms)': _decimal(ms, 2) for p, ms in frames.inference_ms.items()},
        **{f'overhead p{p} (ms)': _decimal(ms, 2) for p, ms in frames.overhead_ms.items()},
        'device': status.device or 'n/a',
        'precision': status.precision or 'n/a',
        'precision reason': status.precision_reason or 'n/a',
        'backend': status.backend or 'n/a',
        'GPU memory (MiB)': _decimal(status.gpu_memory_mib, 0),
        'checkpoint': status.checkpoint_sha256[:12] or 'n/a',
        **{f'published {output}': str(count) for output, count in frames.published.items()},
    }


def _judge(frames: StatisticsSnapshot, status: NodeStatus) -> tuple[bytes, str]:
    if status.state != 'active':
        return DiagnosticStatus.OK, status.state
    if not status.enabled:
        return DiagnosticStatus.OK, 'disabled'
    recent = frames.recent
    # Not recent['received']: the frames that arrive in the window are not those that end in it.
    ended = sum(recent[name] for name in ('segmented', 'dropped', 'too old', 'refused'))
    if recent['refused']:
        text = f'{recent["refused"]} of {ended} frames refused: {frames.last_error}'
        return DiagnosticStatus.ERROR, text
    is_silent = frames.silence_s >= STALE_AFTER_S
    if status.incompatible_qos and (is_silent or not frames.has_input):
        return DiagnosticStatus.WARN, status.incompatible_qos
    if is_silent:
        since = f'for {frames.silence_s:.1f} s' if frames.has_input else 'yet'
        hint = f': {status.input_hint}' if status.input_hint else ''
        return DiagnosticStatus.STALE, f'no frame {since}{hint}'
    problems = []
    if status.ground_problem:
        problems.append(f'no grid, points or corridor: {status.ground_problem}')
    if recent['dropped']:
        problems.append(f'{_percent(recent["dropped"], ended)} dropped for newer frames')
    if recent['too old']:
        problems.append(f'{_percent(recent["too old"], ended)} older than max_image_age')
    if recent['lost']:
        # `ended` does not include lost frames.
        problems.append(f'{_percent(recent["lost"], ended + recent["lost"])} lost in transit')
    p95_ms, limit_ms = frames.latency_ms[95], 1e3 * status.max_image_age_s
    if limit_ms and p95_ms is not None and p95_ms > limit_ms:
        problems.append(f'late: latency p95 {p95_ms:.0f} ms, max_image_age {limit_ms:.0f} ms')
    input_hz, output_hz = _hz(frames.input_hz), _hz(frames.output_hz)
    if problems:
        text = f'input {input_hz}, output {output_hz}: {", ".join(problems)}'
        return DiagnosticStatus.WARN, text
    return DiagnosticStatus.OK, 'starting' if frames.input_hz is None else input_hz


def _decimal(value: float | None, decimals: int = 1) -> str:
    return 'n/a' if value is None else f'{value:.{decimals}f}'


def _hz(rate_hz: float | None) -> str:
    return 'n/a' if rate_hz is None else f'{rate_hz:.1f} Hz'


def _percent(part: int, whole: int) -> str:
    # Rounded down: 100 % only if nothing came through.
    return f'{100 * part // whole} %' if 100 * part >= whole else 'under 1 %'


# The keys of every status, in this order. They are an interface: dashboards look them up.
KEYS = tuple(_values(FrameStatistics().snapshot(), NodeStatus('', 'unconfigured')))
