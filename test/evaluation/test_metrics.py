import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.kitti_calibration import read_calibration, road_to_image
from fcn_road_seg.datasets.kitti_road import kitti_road_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.evaluation.metrics import MaskMeasures, RoadHistogram, RoadMeasures

SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample/training'

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


def test_precision_without_a_positive_pixel_is_0():
    precision, recall = histogram(([9, 9], [ROAD, BACKGROUND])).precision_recall()
    assert precision.tolist() == [0.5] * 10 + [0.0] * 246
    assert recall.tolist() == [1.0] * 10 + [0.0] * 246


def test_without_road_nothing_is_measured():
    measures = histogram(([255, 0], [BACKGROUND, VOID])).measures()
    assert measures.threshold == 0
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
        (np.zeros((2, 3)), np.zeros((2, 3), np.uint8), r'confidence is .* \(2, 3\) float64; conv'),
        (np.zeros(3, np.uint8), np.zeros(3, np.uint8), r'confidence is .* \(3,\) uint8; convert'),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3), bool), r'label is .* \(2, 3\) bool; conv'),
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


def pinhole(focal=64.0, u0=64.0, v0=1.0, height=2.0):
    """Return the road seen level from `height` m: u = u0 + focal x / z, v = v0 + focal h / z."""
    return np.array([[focal, u0, 0], [0, v0, focal * height], [0, 1, 0]])


def positions(hw=(32, 128)):
    """Return two images that tell each pixel's row and its column."""
    rows, columns = np.indices(hw).astype(np.uint8)
    return rows, columns


def test_cells_of_the_benchmark_are_800_by_400():
    assert BirdsEyeView().shape_hw == (800, 400)


def test_cells_of_a_level_camera_are_where_a_pinhole_sees_them():
    view = BirdsEyeView(x_m=(-2, 2), z_m=(4, 12), cell_m=1)
    rows, columns = positions()
    row_seen, column_seen = (view.project(i, pinhole(), outside=VOID) for i in (rows, columns))
    # Far row on top: z = 11.5, 10.5 .. 4.5; v = 1 + 128 / z = 12.1, 13.2 .. 29.4, counted from 1.
    assert row_seen[:, 0].tolist() == [11, 12, 13, 15, 17, 19, 23, 28]
    assert (row_seen == row_seen[:, :1]).all()
    # x = -1.5, -0.5, 0.5, 1.5; u = 64 + 64 x / z, counted from 1.
    assert column_seen[0].tolist() == [54, 60, 65, 71]  # z = 11.5: 55.65, 61.2, 66.8, 72.3
    assert column_seen[-1].tolist() == [41, 55, 70, 84]  # z = 4.5: 42.7, 56.9, 71.1, 85.3


def test_cells_outside_of_the_image_or_behind_the_camera_are_marked():
    view = BirdsEyeView(x_m=(-2, 2), z_m=(-6, 6), cell_m=1)
    seen = view.project(np.ones((96, 128), np.uint8), pinhole(v0=48), outside=9)
    # v = 48 + 128 / z is within 96 rows for z = 5.5, 4.5 and 3.5 (84.6), not for 2.5 (99.2). It
    # is so again behind the camera, for z = -3.5 (11.4) and less: there the depth is negative.
    assert seen[:3].tolist() == [[1] * 4] * 3
    assert (seen[3:] == 9).all()


def test_first_pixel_has_coordinate_1_and_the_last_the_size():
    view = BirdsEyeView(x_m=(0, 6), z_m=(0, 1), cell_m=1)
    # x = 0.5 .. 5.5 becomes u = 0.5, 1.5 .. 5.5 at v = 1: pixels are [1, 2), [2, 3) .. up to 4.
    row = np.uint8([[10, 20, 30, 40]])
    onto_halves = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1.0]])
    assert view.project(row, onto_halves, outside=0).tolist() == [[0, 10, 20, 30, 0, 0]]
    onto_wholes = np.array([[1, 0, -0.5], [0, 0, 1], [0, 0, 1.0]])
    assert view.project(row, onto_wholes, outside=0).tolist() == [[0, 10, 20, 30, 40, 0]]


@given(npst.arrays(np.float64, (3, 3), elements=st.floats(width=64)))
def test_any_homography_shows_only_pixels_or_outside(homography):
    view = BirdsEyeView(x_m=(-1, 1), z_m=(0, 2), cell_m=0.5)
    seen = view.project(np.full((3, 5), 7, np.uint8), homography, outside=VOID)
    assert seen.shape == (4, 4)
    assert set(np.unique(seen)) <= {7, VOID}


def test_colour_image_or_3_by_4_matrix_is_refused():
    with pytest.raises(ValueError, match=r'image is \(H, W\) uint8, this one \(4, 4, 3\)'):
        BirdsEyeView().project(np.zeros((4, 4, 3), np.uint8), np.eye(3), outside=0)
    with pytest.raises(ValueError, match=r'road_to_image is 3 x 3, this one \(3, 4\); use'):
        BirdsEyeView().project(np.zeros((4, 4), np.uint8), np.eye(3, 4), outside=0)


def load_sample(category, number):
    gt_bgr = cv2.imread(str(SAMPLE / f'gt_image_2/{category}_road_{number}.png'))
    calibration = read_calibration(SAMPLE / f'calib/{category}_{number}.txt')
    return kitti_road_label(gt_bgr), road_to_image(calibration)


on_kitti_frames = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f'no KITTI road sample in {SAMPLE}'
)


@on_kitti_frames
@pytest.mark.parametrize('frame', [('um', '000000'), ('uu', '000093')])
def test_ground_truth_of_a_kitti_frame_scores_100_in_both_views(frame):
    label, homography = load_sample(*frame)
    view = BirdsEyeView()
    confidence = np.where(label == ROAD, 255, 0).astype(np.uint8)
    from_above = (
        view.project(confidence, homography, outside=0),
        view.project(label, homography, outside=VOID),
    )
    for image in ((confidence, label), from_above):
        measures = histogram(image).measures()
        assert (measures.max_f, measures.ap, measures.fpr) == (100, 100, 0)


# Measured, and looked at: from above the lane markings run parallel, the road of um_000000 keeps
# its width and that of uu_000093 widens far ahead. Outside of the image are the bottom corners
# alone, and the void of um_000000, another carriageway, is left of the view.
@on_kitti_frames
@pytest.mark.parametrize(
    ('frame', 'cells', 'width_m'),
    [
        (('um', '000000'), {ROAD: 82_802, BACKGROUND: 224_560, VOID: 12_638}, (4.8, 5.5)),
        (('uu', '000093'), {ROAD: 117_712, BACKGROUND: 189_228, VOID: 13_060}, (6.0, 9.4)),
    ],
)
def test_road_of_a_kitti_frame_is_a_strip_from_above(frame, cells, width_m):
    label, homography = load_sample(*frame)
    seen = BirdsEyeView().project(label, homography, outside=VOID)
    # A borderline cell may fall on the neighbouring pixel with another BLAS.
    for value, count in cells.items():
        assert np.count_nonzero(seen == value) == pytest.approx(count, abs=20)
    # The camera's first metre of road is cut by the bottom of the image.
    road = seen[:780] == ROAD
    widths = road.sum(axis=1) * 0.05
    assert width_m[0] <= widths.min()
    assert widths.max() <= width_m[1]
    # In one piece, but for a step of the label's edge.
    left, right = road.argmax(axis=1), 400 - road[:, ::-1].argmax(axis=1)
    np.testing.assert_allclose((right - left) * 0.05, widths, atol=0.101)


@on_kitti_frames
def test_void_stays_void_from_above():
    label, homography = load_sample('um', '000000')
    view = BirdsEyeView()
    road_seen = view.project(label, homography, outside=VOID) == ROAD
    label[label == ROAD] = VOID
    seen = view.project(label, homography, outside=VOID)
    assert (seen[road_seen] == VOID).all()
    assert not (seen == ROAD).any()
