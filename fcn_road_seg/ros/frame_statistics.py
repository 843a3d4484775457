"""counts, rates, percentiles"""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0
# Over less than this, a rate says more about two frames' jitter than about the camera.
RATE_AFTER_S = 1.0
# What is longer, or negative, is no latency but the difference of two clocks.
MAX_LATENCY_S = 60.0
# Part of the text comes out of the message at fault, and may be as long as that.
MAX_ERROR_CHARACTERS = 200

PERCENTILES = (50, 95, 99)
PUBLISHED = (
    'mask',
    'overlay',
    'confidence',
    'class_mask',
    'mask/compressed',
    'overlay/compressed',
    'camera_info',
)
_COUNTED = ('received', 'segmented', 'dropped', 'too old', 'refused', 'ignored')


class _Window:
    """What happened in the last WINDOW_S: (time in s, value) pairs."""

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
    ordered = sorted(durations_s)
    ranks = {p: -(-p * len(ordered) // 100) for p in PERCENTILES}
    return {p: 1e3 * ordered[rank - 1] if ordered else None for p, rank in ranks.items()}


def _one_line(text: str) -> str:
    """Return the text without line breaks and NUL, which would end it, or lone surrogates."""
    cut = text[:MAX_ERROR_CHARACTERS]
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in cut).split())
