import numpy as np
import pytest

from fcn_road_seg.evaluation.metrics import RoadHistogram
from fcn_road_seg.evaluation.probability_fit import fit_logit

LEVELS = np.arange(256).clip(0.25, 254.75) / 255
LOGIT = np.log(LEVELS / (1 - LEVELS))


def labelled(scale, bias, pixels=1e6):
    """Pixels at every step of p(road), of which sigmoid(scale * logit + bias) are road."""
    road = np.round(pixels / (1 + np.exp(-(scale * LOGIT + bias)))).astype(np.int64)
    return RoadHistogram(road, int(pixels) - road)


@pytest.mark.parametrize(('scale', 'bias'), [(1.0, 0.0), (0.5, 0.0), (2.5, -1.0), (0.8, 1.5)])
def test_scale_and_bias_that_made_the_labels_are_found(scale, bias):
    assert fit_logit([labelled(scale, bias)]) == pytest.approx((scale, bias), abs=1e-3)


def test_data_sets_weigh_the_same_whatever_their_size():
    low, high = labelled(1.0, -1.0, pixels=1e6), labelled(1.0, 1.0, pixels=1e4)
    _, bias = fit_logit([low, high])
    assert bias == pytest.approx(0, abs=0.01)


def test_fit_lowers_the_calibration_error():
    histogram = labelled(2.0, 0.5)
    scale, bias = fit_logit([histogram])
    p_road = np.round(255 / (1 + np.exp(-(scale * LOGIT + bias)))).astype(int)
    fitted = RoadHistogram(
        np.bincount(p_road, weights=histogram.road, minlength=256),
        np.bincount(p_road, weights=histogram.background, minlength=256),
    )
    assert histogram.calibration_error() > 0.05
    assert fitted.calibration_error() < 0.01


@pytest.mark.parametrize('missing', ['road', 'background'])
def test_frames_of_one_kind_are_refused(missing):
    histogram = labelled(1.0, 0.0)
    getattr(histogram, missing)[:] = 0
    with pytest.raises(
        ValueError, match='cannot be fitted to frames that contain only road or only'
    ):
        fit_logit([histogram])
