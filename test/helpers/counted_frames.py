"""A camera whose frames are counted by FrameStatistics, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence

from fcn_road_seg.ros.frame_statistics import FrameStatistics

# All times are multiples of 1/8 s, which add up exactly.
PERIOD_S = 0.125


class ManualClock:
    """A monotonic clock that a test moves; like a real one, it does not start at 0."""

    def __init__(self) -> None:
        self.s = 4096.0

    def __call__(self) -> float:
        return self.s


def run_camera(
    statistics: FrameStatistics,
    clock: ManualClock,
    seconds: float,
    outcomes: Sequence[str] = ('segmented',),
) -> None:
    """Receive a frame every PERIOD_S, the first one now, with `outcomes` in turn."""
    for index in range(int(seconds / PERIOD_S)):
        statistics.count_received()
        outcome = outcomes[index % len(outcomes)]
        arguments = {'segmented': (0.25, 0.125), 'refused': ('bad step',)}.get(outcome, ())
        getattr(statistics, f'count_{outcome}')(*arguments)
        clock.s += PERIOD_S
