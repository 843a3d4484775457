"""What becomes of the frames: rates, latencies, drops and health -> DiagnosticArray."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from fcn_road_seg.ros.frame_statistics import (
    _COUNTED,
    MAX_LATENCY_S,
    PUBLISHED,
    RATE_AFTER_S,
    WINDOW_S,
    _one_line,
    _percentiles_ms,
    _Window,
)

STALE_AFTER_S = 2.0


@dataclass(frozen=True)
class Facts:
    """What the node knows of itself; an empty text is shown as 'n/a'.

    `state` is the lifecycle's ('active', ...). `incompatible_qos` tells which settings of both
    sides keep frames away, or is empty. `waiting` is the queue's length, `max_image_age_s` the
    limit of a frame's age, 0 for none. The checkpoint's hash is shown by 12 characters.
    """

    state: str
    enabled: bool = True
    input_topic: str = ''
    input_reliability: str = ''
    incompatible_qos: str = ''
    waiting: int = 0
    max_image_age_s: float = 0.0
    device: str = ''
    precision: str = ''
    backend: str = ''
    gpu_memory_mib: float | None = None
    checkpoint_sha256: str = ''


class Health:
    """Counts what becomes of each frame, and judges it; any thread may call any method.

    Every frame is `received`, and then one of `segmented`, `dropped`, `too_old`, `refused` and
    `ignored`, or none of them where nobody listens. Totals run from the start; rates (Hz) and
    percentiles are over the last WINDOW_S of `now_s`, in s, which must not jump as ROS time may.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._published: Counter[str] = Counter()
        self._without_stamp = 0
        self._last_error = ''
        self.resumed()

    def resumed(self) -> None:
        """Note that frames are expected from now on: the windows begin anew, the totals do not."""
        with self._lock:
            self._resumed_s = self._now_s()
            self._first_s: float | None = None
            self._last_s: float | None = None
            self._recent = {name: _Window() for name in _COUNTED}
            self._latencies_s = _Window()
            self._inferences_s = _Window()
            self._overheads_s = _Window()

    def received(self) -> None:
        """Count a frame that arrived, whatever becomes of it."""
        with self._lock:
            self._last_s = self._count('received')
            if self._first_s is None:
                self._first_s = self._last_s

    def segmented(
        self, stamp_to_publish_s: float | None, inference_s: float, overhead_s: float | None = None
    ) -> None:
        """Count a frame whose outputs are published.

        Args:
            stamp_to_publish_s: from the frame's stamp to now on the clock of the stamps; None
                if it has no stamp. Outside of 0 to MAX_LATENCY_S it counts as without one.
            inference_s: duration of the segmenter's call, at least 0.
            overhead_s: what was spent on the frame outside of the network, from its decoding to
                its publishing, at least 0; None if the two cannot be told apart.
        """
        with self._lock:
            now_s = self._count('segmented')
            self._inferences_s.add(now_s, inference_s)
            if overhead_s is not None:
                self._overheads_s.add(now_s, overhead_s)
            if stamp_to_publish_s is not None and 0 <= stamp_to_publish_s <= MAX_LATENCY_S:
                self._latencies_s.add(now_s, stamp_to_publish_s)
            else:
                self._without_stamp += 1

    def dropped(self, count: int = 1) -> None:
        """Count frames that a newer one replaced; `count` is at least 0."""
        with self._lock:
            self._count('dropped', count)

    def too_old(self) -> None:
        """Count a frame older than max_image_age."""
        with self._lock:
            self._count('too old')

    def ignored(self) -> None:
        """Count a frame that came while the node was disabled."""
        with self._lock:
            self._count('ignored')

    def refused(self, reason: str) -> None:
        """Count a frame that could not be read or segmented; `reason` becomes the last error."""
        with self._lock:
            self._count('refused')
            self._last_error = _one_line(reason)

    def published(self, output: str) -> None:
        """Count a message on one of PUBLISHED (a KeyError otherwise)."""
        if output not in PUBLISHED:
            raise KeyError(output)
        with self._lock:
            self._published[output] += 1

    def totals(self) -> dict[str, int]:
        """Return the counts since the start, by the last words of their 'frames ...' keys."""
        with self._lock:
            return {name: self._totals[name] for name in _COUNTED}

    def status(self, name: str, facts: Facts) -> DiagnosticStatus:
        """Return level, message and the values of KEYS; percentiles are nearest-rank."""
        with self._lock:
            now_s = self._now_s()
            latency_ms = _percentiles_ms(self._latencies_s.values(now_s))
            inference_ms = _percentiles_ms(self._inferences_s.values(now_s))
            overhead_ms = _percentiles_ms(self._overheads_s.values(now_s))
            level, message = self._judge(facts, now_s, latency_ms[95])
            values = {
                'state': facts.state,
                'enabled': str(facts.enabled).lower(),
                'input topic': facts.input_topic or 'n/a',
                'input reliability': facts.input_reliability or 'n/a',
                'incompatible QoS': facts.incompatible_qos or 'none',
                'input rate (Hz)': _text(self._rate('received', now_s)),
                'output rate (Hz)': _text(self._rate('segmented', now_s)),
                **{f'frames {of}': str(self._totals[of]) for of in _COUNTED},
                'frames waiting': str(facts.waiting),
                'frames without usable stamp': str(self._without_stamp),
                'last error': self._last_error or 'none',
                **{f'latency p{p} (ms)': _text(ms, 2) for p, ms in latency_ms.items()},
                **{f'inference p{p} (ms)': _text(ms, 2) for p, ms in inference_ms.items()},
                **{f'overhead p{p} (ms)': _text(ms, 2) for p, ms in overhead_ms.items()},
                'device': facts.device or 'n/a',
                'precision': facts.precision or 'n/a',
                'backend': facts.backend or 'n/a',
                'GPU memory (MiB)': _text(facts.gpu_memory_mib, 0),
                'checkpoint': facts.checkpoint_sha256[:12] or 'n/a',
                **{f'published {output}': str(self._published[output]) for output in PUBLISHED},
            }
        return DiagnosticStatus(
            level=level,
            name=name,
            message=message,
            hardware_id=facts.device,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )

    def _count(self, name: str, count: int = 1) -> float:
        now_s = self._now_s()
        self._totals[name] += count
        self._recent[name].add(now_s, count)
        return now_s

    def _rate(self, name: str, now_s: float) -> float | None:
        if self._first_s is None:
            return None
        # Counted after the first frame, which begins the first interval and ends none.
        begin_s = max(self._first_s, now_s - WINDOW_S)
        if now_s - begin_s < RATE_AFTER_S:
            return None
        return sum(self._recent[name].values(now_s, begin_s)) / (now_s - begin_s)

    def _judge(self, facts: Facts, now_s: float, p95_ms: float | None) -> tuple[bytes, str]:
        if facts.state != 'active':
            return DiagnosticStatus.OK, facts.state
        if not facts.enabled:
            return DiagnosticStatus.OK, 'disabled'
        recent = {name: int(sum(window.values(now_s))) for name, window in self._recent.items()}
        # Not of those received: the frames that end in a window are not those that come in it.
        ended = sum(recent[name] for name in ('segmented', 'dropped', 'too old', 'refused'))
        if recent['refused']:
            text = f'{recent["refused"]} of {ended} frames refused: {self._last_error}'
            return DiagnosticStatus.ERROR, text
        silence_s = now_s - (self._resumed_s if self._last_s is None else self._last_s)
        if facts.incompatible_qos and (self._last_s is None or silence_s >= STALE_AFTER_S):
            return DiagnosticStatus.WARN, facts.incompatible_qos
        if silence_s >= STALE_AFTER_S:
            since = 'yet' if self._last_s is None else f'for {silence_s:.1f} s'
            return DiagnosticStatus.STALE, f'no frame {since}'
        lost = []
        if recent['dropped']:
            lost.append(f'{_percent(recent["dropped"], ended)} dropped for newer frames')
        if recent['too old']:
            lost.append(f'{_percent(recent["too old"], ended)} older than max_image_age')
        limit_ms = 1e3 * facts.max_image_age_s
        if limit_ms and p95_ms is not None and p95_ms > limit_ms:
            lost.append(f'late: latency p95 {p95_ms:.0f} ms, max_image_age {limit_ms:.0f} ms')
        input_hz, output_hz = self._rate('received', now_s), self._rate('segmented', now_s)
        if lost:
            text = f'input {_hz(input_hz)}, output {_hz(output_hz)}: {", ".join(lost)}'
            return DiagnosticStatus.WARN, text
        return DiagnosticStatus.OK, 'starting' if input_hz is None else _hz(input_hz)


def diagnostic_array(status: DiagnosticStatus, stamp: Time) -> DiagnosticArray:
    """Return the message for /diagnostics; `stamp` is the time of the node's own clock."""
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def _text(value: float | None, decimals: int = 1) -> str:
    return 'n/a' if value is None else f'{value:.{decimals}f}'


def _hz(rate: float | None) -> str:
    return 'n/a' if rate is None else f'{rate:.1f} Hz'


def _percent(part: int, whole: int) -> str:
    # Rounded down: 100 % only if nothing came through.
    return f'{100 * part // whole} %' if 100 * part >= whole else 'under 1 %'


# The keys of every status, in this order. They are an interface: dashboards look them up.
KEYS = tuple(value.key for value in Health().status('', Facts('unconfigured')).values)
