from collections.abc import Iterator

import pytest

from fcn_road_seg.training.road_frames import frame_readers


@pytest.fixture(autouse=True)
def _readers() -> Iterator[None]:
    # As in a training: other tests of this process may have started OpenCV's threads, with which a
    # process that reads frames was once forked, and died of a segmentation fault.
    with frame_readers():
        yield
