import cv2
import pytest
import torch

from fcn_road_seg.inference.cpu_threads import limit_cpu_threads


@pytest.fixture(autouse=True)
def _restore_counts():
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_count_is_that_of_pytorch_and_opencv():
    for count in (1, 2):
        limit_cpu_threads(count)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (count, count)


def test_0_changes_nothing():
    limit_cpu_threads(2)
    limit_cpu_threads(0)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
