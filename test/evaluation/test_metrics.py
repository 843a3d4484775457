import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.evaluation.metrics import MaskMeasures, RoadHistogram, RoadMeasures

# An undefined ratio is NaN, and no reason to print anything.
pytestmark = pytest.mark.filterwarnings('error')


# Near one another and at both ends, so that ties and thresholds on the spot are common.
CONFIDENCE = st.sampled_from(np.uint8([0, 1, 2, 100, 101, 254, 255])) | st.integers(0, 255)


LABEL = st.sampled_from(np.uint8([BACKGROUND, ROAD, VOID]))


@st.composite
def images(draw):
    shape = draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=4))
    return (
        draw(npst.arrays(np.uint8, shape, elements=CONFIDENCE)),
        draw(npst.arrays(np.uint8, shape, elements=LABEL)),
    )


def histogram(*images):
    counted = RoadHistogram()
    for confidence, label in images:
        counted.add(np.array(confidence, np.uint8, ndmin=2), np.array(label, np.uint8, ndmin=2))
    return counted


def counts(histogram):
    return np.stack(histogram.counts()).tolist()


def transcribed_counts(images):
    """Count as the definition reads: pixel by pixel, threshold by threshold."""
    tp, fp, tn, fn = ([0] * 256 for _ in range(4))
    for t in range(256):
        for confidence, label in images:
            for p, truth in zip(confidence.ravel().tolist(), label.ravel().tolist(), strict=True):
                if truth == ROAD:
                    (tp if p >= t else fn)[t] += 1
                elif truth == BACKGROUND:
                    (fp if p >= t else tn)[t] += 1
    return [tp, fp, tn, fn]


def transcribed_measures(counts):
    """Take the measure from (tp, fp, tn, fn) lists in exact fractions."""
    points = []
    for t, (tp, fp, tn, fn) in enumerate(zip(*counts, strict=True)):
        precision = Fraction(tp, tp + fp) if tp + fp else Fraction(0)
        recall = Fraction(tp, tp + fn)
        both = precision + recall
        f1 = 2 * precision * recall / both if both else Fraction(0)
        fpr = Fraction(fp, fp + tn) if fp + tn else math.nan
        points.append((f1, -t, precision, recall, fpr))
    max_f, minus_t, pre, rec, fpr = max(points, key=lambda point: point[:2])
    ceilings = [max(p for _, _, p, r, _ in points if r >= Fraction(i, 10)) for i in range(11)]
    percent = (100 * float(m) for m in (max_f, sum(ceilings) / 11, pre, rec, fpr, 1 - rec))
    return RoadMeasures(*percent, threshold=-minus_t)


def test_perfect_prediction_scores_100():
    assert histogram(([255, 255, 0], [ROAD, ROAD, BACKGROUND])).measures() == RoadMeasures(
        max_f=100.0, ap=100.0, pre=100.0, rec=100.0, fpr=0.0, fnr=0.0, threshold=1
    )


def test_measures_of_six_pixels_worked_out_by_hand():
    measures = histogram(
        ([200, 150, 100, 150, 50, 0], [ROAD, ROAD, ROAD] + [BACKGROUND] * 3)
    ).measures()
    # TP, FP by threshold: 3, 3 at 0; 3, 2 to 50; 3, 1 to 100; 2, 1 to 150; 1, 0 to 200; then none.
    # F1 is highest for t in 51..100: 2 * 3 / (2 * 3 + 1 + 0) = 6/7.
    # Precision is at most 1 up to a recall of 1/3 (4 levels), 3/4 up to 1 (7 levels).
    assert measures == RoadMeasures(
        max_f=pytest.approx(100 * 6 / 7),
        ap=pytest.approx(100 * (4 * 1 + 7 * 3 / 4) / 11),
        pre=75.0,
        rec=100.0,
        fpr=pytest.approx(100 / 3),
        fnr=0.0,
        threshold=51,
    )


def test_best_threshold_is_the_first_of_equals():
    # F1 is 2/3 for all of 0 (1 of 2 right, none missed), and for 11..20 (1 right, 1 missed).
    confidence, label = [20, 10, 10, 10], [ROAD, ROAD, BACKGROUND, BACKGROUND]
    counted = histogram((confidence, label))
    assert counted.mask_measures(0).f1 == counted.mask_measures(20).f1 == pytest.approx(2 / 3)
    assert counted.measures().threshold == 0


def test_confidence_equal_to_the_threshold_is_road():
    tp, fp, _, _ = histogram(([7, 7], [ROAD, BACKGROUND])).counts()
    assert np.flatnonzero(tp).tolist() == np.flatnonzero(fp).tolist() == list(range(8))


def test_recall_of_exactly_a_tenth_level_counts_for_it():
    # 3 of 10 road pixels stand out. In binary 3 / 10 < 3 * 0.1, so a float would miss the level.
    measures = histogram(([255] * 3 + [0] * 17, [ROAD] * 10 + [BACKGROUND] * 10)).measures()
    assert measures.ap == pytest.approx(100 * (4 * 1 + 7 * 1 / 2) / 11)


def test_images_are_pooled_before_any_ratio():
    good = ([255] * 8 + [0] * 2, [ROAD] * 8 + [BACKGROUND] * 2)
    bad = ([0, 255], [ROAD, BACKGROUND])
    # TP 8, FP 1, FN 1 at t = 1: the mean of the two images' F1 would be 1/2.
    assert histogram(good, bad).mask_measures(1).f1 == 16 / 18


def test_mask_measures_are_those_of_one_threshold():
    counted = histogram(([90, 90, 80, 90, 0, 80, 0], [ROAD] * 3 + [BACKGROUND] * 3 + [VOID]))
    # TP 2, FP 1, TN 2, FN 1 at 81..90.
    assert counted.mask_measures(90) == MaskMeasures(iou=2 / 4, f1=4 / 6, accuracy=4 / 6)


def test_calibration_error_is_zero_if_p_road_is_the_share_of_road():
    half, never, always = 127.5, 0, 255
    assert (
        histogram(([never] * 2 + [always] * 2, [BACKGROUND] * 2 + [ROAD] * 2)).calibration_error()
        == 0
    )
    # 127 and 128 share a bin; their mean is a half.
    assert np.mean([127, 128]) == half
    assert histogram(([127, 128], [ROAD, BACKGROUND])).calibration_error() == pytest.approx(0)


def test_calibration_error_weighs_each_bin_by_its_pixels():
    # Three pixels of p(road) 0.8, of which one is road, and one of 0 that is background.
    counted = histogram(([204, 204, 204, 0], [ROAD, BACKGROUND, BACKGROUND, BACKGROUND]))
    assert counted.calibration_error() == pytest.approx(3 / 4 * (0.8 - 1 / 3))


def test_calibration_error_has_15_bins_of_equal_width():
    # Within a bin, a pixel that is too sure makes up for one that is not sure enough.
    errors = [histogram(([p, p + 1], [ROAD, BACKGROUND])).calibration_error() for p in range(255)]
    apart = np.flatnonzero(np.isclose(errors, (1 + 1 / 255) / 2, rtol=1e-9))
    assert apart.tolist() == list(range(17, 239, 17))


def test_calibration_error_without_pixels_is_undefined():
    assert math.isnan(RoadHistogram().calibration_error())


def test_precision_without_a_positive_pixel_is_0():
    precision, recall = histogram(([9, 9], [ROAD, BACKGROUND])).precision_recall()
    assert precision.tolist() == [0.5] * 10 + [0.0] * 246
    assert recall.tolist() == [1.0] * 10 + [0.0] * 246


def test_without_road_nothing_is_measured():
    measures = histogram(([255, 0], [BACKGROUND, VOID])).measures()
    assert measures.threshold is None
    for name in ('max_f', 'ap', 'pre', 'rec', 'fpr', 'fnr'):
        assert math.isnan(getattr(measures, name)), name


def test_without_background_only_the_false_positive_rate_is_undefined():
    measures = histogram(([255, 0], [ROAD, ROAD])).measures()
    assert math.isnan(measures.fpr)
    assert (measures.max_f, measures.ap, measures.threshold) == (100.0, 100.0, 0)


def test_without_any_pixel_mask_measures_are_undefined():
    empty = RoadHistogram().mask_measures(128)
    assert all(math.isnan(value) for value in (empty.iou, empty.f1, empty.accuracy))
    assert np.isnan(RoadHistogram().precision_recall()[1]).all()


@settings(max_examples=30)
@given(st.lists(images(), max_size=3))
def test_streaming_counts_agree_with_the_definition(images):
    assert counts(histogram(*images)) == transcribed_counts(images)


@settings(max_examples=50)
@given(st.lists(images(), max_size=3))
def test_measures_agree_with_exact_fractions(images):
    counted = histogram(*images)
    assume(counted.road.any())
    measures, expected = counted.measures(), transcribed_measures(counts(counted))
    assert vars(measures) == pytest.approx(vars(expected), rel=1e-12, abs=1e-12, nan_ok=True)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2), elements=LABEL))
def test_any_label_is_its_own_perfect_prediction(label):
    assume((label == ROAD).any())
    measures = histogram((np.where(label == ROAD, 255, 0), label)).measures()
    assert (measures.max_f, measures.ap, measures.pre, measures.rec) == (100, 100, 100, 100)
    assert measures.fnr == 0
    assert measures.fpr == 0 or not (label == BACKGROUND).any()


@given(st.lists(images(), max_size=4), st.randoms())
def test_order_of_the_images_changes_nothing(images, random):
    shuffled = random.sample(images, len(images))
    assert counts(histogram(*images)) == counts(histogram(*shuffled))


@given(images(), CONFIDENCE)
def test_void_pixels_change_nothing_whatever_their_confidence(image, anything):
    confidence, label = image
    assert counts(histogram(image)) == counts(
        histogram((np.where(label == VOID, np.uint8(anything), confidence), label))
    )


@given(st.lists(images(), max_size=3), st.lists(images(), max_size=3))
def test_pooled_categories_are_all_their_images_together(um, uu):
    first, second = histogram(*um), histogram(*uu)
    before = counts(first)
    assert counts(first + second) == counts(histogram(*um, *uu))
    assert counts(first) == before
    assert counts(sum([first, second], RoadHistogram())) == counts(first + second)


@pytest.mark.parametrize(
    ('confidence', 'label', 'message'),
    [
        (
            np.zeros((2, 3)),
            np.zeros((2, 3), np.uint8),
            r'confidence must be \(H, W\) uint8, but is \(2, 3\) float64; conv',
        ),
        (
            np.zeros(3, np.uint8),
            np.zeros(3, np.uint8),
            r'confidence must be .* but is \(3,\) uint8; convert',
        ),
        (
            np.zeros((2, 3), np.uint8),
            np.zeros((2, 3), bool),
            r'label must be .* but is \(2, 3\) bool; conv',
        ),
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r'\(2, 3\) .* is \(3, 2\); give'),
        (np.zeros((1, 1), np.uint8), np.uint8([[7]]), 'label value 7 is unknown; use 0'),
    ],
)
def test_image_that_cannot_be_counted_is_refused(confidence, label, message):
    counted = RoadHistogram()
    with pytest.raises(ValueError, match=message):
        counted.add(confidence, label)
    assert not counted.road.any()
    assert not counted.background.any()


@pytest.mark.parametrize('threshold', [-1, 256, 0.5])
def test_threshold_that_no_confidence_has_is_refused(threshold):
    with pytest.raises(ValueError, match=f'threshold {threshold} is not one of 0..255'):
        RoadHistogram().mask_measures(threshold)
