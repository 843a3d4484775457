import time

import numpy as np
import pytest

from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.interfaces import BackendInfo, SegmentationRequest

HW = (64, 96)
LOGIT = np.linspace(-8, 8, HW[0] * HW[1], dtype=np.float32).reshape(HW)
P_ROAD = 1 / (1 + np.exp(-LOGIT))
REQUEST = SegmentationRequest(
    input_hw=HW,
    hidden_input_rows=0,
    hidden_rows=0,
    channel_order='bgr',
    logit_threshold=0.0,
    road_probability=True,
    confidence=True,
    overlay=None,
)


class KnownNetwork:
    """A backend that gives LOGIT, whatever the frame."""

    info = BackendInfo('known', '1')

    def road_logit(self, frame_rgb):
        assert frame_rgb.shape == (*HW, 3)
        return LOGIT.copy()


class SlowNetwork(KnownNetwork):
    def road_logit(self, frame_rgb):
        time.sleep(0.02)
        return super().road_logit(frame_rgb)


def run(network=KnownNetwork, **changes):
    request = SegmentationRequest(**{**vars(REQUEST), **changes})
    return CpuPipeline(network()).run(np.zeros((*HW, 3), np.uint8), request)


def test_road_probability_is_that_of_road():
    assert np.abs(run().road_probability - 255 * P_ROAD).max() < 0.51


# The last one is the logit of a pixel, which is road then.
@pytest.mark.parametrize('logit_threshold', [-2.0, 0.0, float(LOGIT[40, 50])])
def test_confidence_is_the_certainty_of_the_more_likely_class(logit_threshold):
    found = run(logit_threshold=logit_threshold)
    assert np.array_equal(found.mask == 255, logit_threshold <= LOGIT)
    assert np.abs(found.confidence - 255 * np.maximum(P_ROAD, 1 - P_ROAD)).max() < 0.51
    assert found.confidence.min() == 128


def test_time_of_the_network_is_told():
    assert 0.02 <= run(SlowNetwork).network_s < 10


def test_hidden_rows_are_background_for_certain():
    found = run(hidden_rows=10)
    assert not found.road_probability[:10].any()
    assert (found.confidence[:10] == 255).all()


@pytest.mark.parametrize('only', ['road_probability', 'confidence'])
def test_only_what_is_asked_for_is_there(only):
    asked = {'road_probability': False, 'confidence': False, only: True}
    found, both = run(**asked), run()
    assert np.array_equal(getattr(found, only), getattr(both, only))
    assert [name for name in asked if getattr(found, name) is not None] == [only]


@pytest.mark.parametrize('road_probability', [True, False])
def test_road_probability_at_pixels_is_that_of_the_image(road_probability):
    pixels = np.array([5000, 0, 96, 96])
    found = run(road_probability=road_probability, hidden_rows=1, pixels=pixels)
    expected = run(hidden_rows=1).road_probability.reshape(-1)[pixels]
    assert np.array_equal(found.road_probability_at, expected)
    assert found.road_probability_at[1] == 0
