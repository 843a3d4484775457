"""Counts, rates and latencies of the frames, over the run and over the last ten seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from fcn_road_seg.messages.one_line import one_line
from fcn_road_seg.utils.percentiles import nearest_rank

WINDOW_S = 10.0
# Over a shorter time, a rate tells more about the jitter of two frames than about the camera.
RATE_AFTER_S = 1.0
# If a latency is longer or negative, the camera's clock and the node's disagree.
MAX_LATENCY_S = 60.0
# Part of an error's text comes from the refused message, and may be of any length.
MAX_ERROR_CHARACTERS = 200

PERCENTILES = (50, 95, 99)
PUBLISHED = (
    'mask',
    'overlay',
    'confidence',
    'road_probability',
    'class_mask',
    'mask/compressed',
    'overlay/compressed',
    'grid',
    'points',
    'corridor',
    'corridor/edges',
    'camera_info',
)
COUNTED = ('received', 'segmented', 'dropped', 'too old', 'refused', 'ignored', 'lost')


@dataclass(frozen=True)
class StatisticsSnapshot:
    """The statistics at one moment.

    `totals` and `recent` have the keys COUNTED, `published` has the keys PUBLISHED, and the
    percentiles have the keys PERCENTILES. `totals`, `published`, `without_stamp` and
    `without_ground` count from the start; `recent`, rates and percentiles are over the last
    WINDOW_S. `last_error` is kept until the next error. None means not known (yet).
    """

    totals: dict[str, int]
    recent: dict[str, int]
    published: dict[str, int]
    without_stamp: int
    without_ground: int
    last_error: str
    input_hz: float | None
    output_hz: float | None
    # Whether a frame has arrived since the last `resume`; the time since that frame or `resume`.
    has_input: bool
    silence_s: float
    latency_ms: dict[int, float | None]
    inference_ms: dict[int, float | None]
    overhead_ms: dict[int, float | None]


class FrameStatistics:
    """Counts what happens to each frame; any thread may call any method.

    Each frame counts as received, and then as segmented, dropped, too old, refused or ignored, or
    as none of these if no output needs it segmented. A frame that did not arrive counts as lost.
    Totals run from the start; rates and percentiles (nearest-rank) are over the last WINDOW_S of
    `now_s`, a clock in s that must not jump. (ROS time may jump.)
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._published: Counter[str] = Counter()
        self._without_stamp = 0
        self._without_ground = 0
        self._last_error = ''
        self.resume()

    def resume(self) -> None:
        """Expect frames from now on: clear the windows and keep the totals."""
        with self._lock:
            self._resumed_s = self._now_s()
            self._first_s: dict[str, float] = {}
            self._last_s: float | None = None
            self._recent = {name: _Window() for name in COUNTED}
            self._latencies_s = _Window()
            self._inferences_s = _Window()
            self._overheads_s = _Window()

    def count_received(self) -> None:
        """Count a frame that arrived, whatever happens to it."""
        with self._lock:
            self._last_s = self._count('received')
            self._first_s.setdefault('received', self._last_s)

    def count_segmented(
        self, stamp_to_publish_s: float | None, inference_s: float, overhead_s: float | None = None
    ) -> None:
        """Count a frame whose outputs are published.

        Args:
            stamp_to_publish_s: Time from the frame's stamp to now on the clock of the stamps;
                None if it has no stamp. A time outside 0 to MAX_LATENCY_S counts as no stamp.
            inference_s: Duration of the segmenter's call, at least 0.
            overhead_s: Time spent on the frame outside of the network, from decoding to
                publishing, at least 0; None if the network's time is not known.
        """
        with self._lock:
            now_s = self._count('segmented')
            self._first_s.setdefault('segmented', now_s)
            self._inferences_s.add(now_s, inference_s)
            if overhead_s is not None:
                self._overheads_s.add(now_s, overhead_s)
            if stamp_to_publish_s is not None and 0 <= stamp_to_publish_s <= MAX_LATENCY_S:
                self._latencies_s.add(now_s, stamp_to_publish_s)
            else:
                self._without_stamp += 1

    def count_dropped(self, count: int = 1) -> None:
        """Count frames that were discarded before they were published; `count` is at least 0."""
        with self._lock:
            self._count('dropped', count)

    def count_too_old(self) -> None:
        """Count a frame older than max_image_age."""
        with self._lock:
            self._count('too old')

    def count_lost(self, count: int) -> None:
        """Count frames that were published and did not arrive; `count` is at least 0."""
        with self._lock:
            self._count('lost', count)

    def count_ignored(self) -> None:
        """Count a frame that arrived while the node was disabled."""
        with self._lock:
            self._count('ignored')

    def count_refused(self, reason: str) -> None:
        """Count a frame that could not be decoded or segmented; keep `reason` as last error."""
        with self._lock:
            self._count('refused')
            self._last_error = one_line(reason, MAX_ERROR_CHARACTERS)

    def count_without_ground(self) -> None:
        """Count a frame whose grid, points or corridor were wanted, but could not be made."""
        with self._lock:
            self._without_ground += 1

    def count_published(self, output: str) -> None:
        """Count a message on `output`.

        Raises:
            KeyError: `output` is not one of PUBLISHED.
        """
        if output not in PUBLISHED:
            raise KeyError(output)
        with self._lock:
            self._published[output] += 1

    def snapshot(self) -> StatisticsSnapshot:
        """Return the current statistics."""
        with self._lock:
            now_s = self._now_s()
            last_s = self._resumed_s if self._last_s is None else self._last_s
            return StatisticsSnapshot(
                totals={name: self._totals[name] for name in COUNTED},
                recent={name: int(sum(w.values(now_s))) for name, w in self._recent.items()},
                published={output: self._published[output] for output in PUBLISHED},
                without_stamp=self._without_stamp,
                without_ground=self._without_ground,
                last_error=self._last_error,
                input_hz=self._rate_hz('received', now_s),
                output_hz=self._rate_hz('segmented', now_s),
                has_input=self._last_s is not None,
                silence_s=now_s - last_s,
                latency_ms=_percentiles_ms(self._latencies_s.values(now_s)),
                inference_ms=_percentiles_ms(self._inferences_s.values(now_s)),
                overhead_ms=_percentiles_ms(self._overheads_s.values(now_s)),
            )

    def _count(self, name: str, count: int = 1) -> float:
        now_s = self._now_s()
        self._totals[name] += count
        self._recent[name].add(now_s, count)
        return now_s

    def _rate_hz(self, name: str, now_s: float) -> float | None:
        if 'received' not in self._first_s:
            return None
        # Leave out the first frame: it begins the first interval, and ends none. If all frames
        # that arrive are dropped, the rate is 0.
        first_s = self._first_s.get(name, self._first_s['received'])
        begin_s = max(first_s, now_s - WINDOW_S)
        if now_s - begin_s < RATE_AFTER_S:
            return None
        return sum(self._recent[name].values(now_s, begin_s)) / (now_s - begin_s)


class _Window:
    """The entries of the last WINDOW_S: (time in s, value) pairs."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, now_s: float, value: float) -> None:
        self._entries.append((now_s, value))
        self._forget(now_s)

    def values(self, now_s: float, after_s: float = float('-inf')) -> list[float]:
        """Return what was added later than `after_s`, in order."""
        self._forget(now_s)
        return [value for at_s, value in self._entries if at_s > after_s]

    def _forget(self, now_s: float) -> None:
        while self._entries and self._entries[0][0] <= now_s - WINDOW_S:
            self._entries.popleft()


def _percentiles_ms(durations_s: list[float]) -> dict[int, float | None]:
    found = {p: nearest_rank(durations_s, p) for p in PERCENTILES}
    return {p: None if value_s is None else 1e3 * value_s for p, value_s in found.items()}
