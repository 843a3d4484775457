from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.kitti_calibration import read_calibration, road_to_image
from fcn_road_seg.datasets.kitti_road import kitti_road_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.evaluation.metrics import RoadHistogram

SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample/training'


# An undefined ratio is NaN, and no reason to print anything.
pytestmark = pytest.mark.filterwarnings('error')


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


def test_colour_image_is_refused():
    with pytest.raises(ValueError, match=r'image must be \(H, W\) uint8, but is \(4, 4, 3\)'):
        BirdsEyeView().project(np.zeros((4, 4, 3), np.uint8), np.eye(3), outside=0)


def test_homography_of_3_by_4_is_refused():
    with pytest.raises(ValueError, match=r'road_to_image must be 3 x 3, but is \(3, 4\); use'):
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
        histogram = RoadHistogram()
        histogram.add(*image)
        measures = histogram.measures()
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
