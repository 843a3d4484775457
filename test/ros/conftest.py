"""Fixtures of the tests of frame statistics and diagnostics."""

import pytest

from fcn_road_seg.ros.frame_statistics import FrameStatistics
from test.helpers.counted_frames import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def statistics(clock):
    return FrameStatistics(clock)
