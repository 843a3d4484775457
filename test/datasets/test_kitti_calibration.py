import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.kitti_calibration import (
    CalibrationError,
    matrix,
    read_calibration,
    road_to_image,
)

SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample/training/calib'

RAW_DRIVE = """\
calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_rect_02: 1.242000e+03 3.750000e+02
R_rect_00: 1 0 0 0 1 0 0 0 1
P_rect_02: 7.2e+02 0 6.1e+02 4.5e+01 0 7.2e+02 1.7e+02 0.2 0 0 1 3e-03
"""

FINITE = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text('PRST_012', min_size=1, max_size=4)
TOKENS = st.one_of(
    FINITE.map(str), st.sampled_from(['nan', 'inf', '1e999', '1_0', '0x1', ':']), st.text()
)


def result_or_message(function, argument):
    try:
        return function(argument)
    except CalibrationError as error:
        return str(error)


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return tmp_path_factory.mktemp('calib') / 'um_000000.txt'


@pytest.fixture
def calibration():
    """Return a camera 1.5 m above the road, looking ahead, of 700 pixels focal length."""
    return {
        'P2': np.array([700, 0, 600, 0, 0, 700, 200, 0, 0, 0, 1, 0], np.float64),
        'R0_rect': np.eye(3).ravel(),
        'Tr_cam_to_road': np.array([1, 0, 0, 0, 0, 1, 0, -1.5, 0, 0, 1, 0], np.float64),
    }


def pixel(homography, x, z):
    u, v, w = homography @ (x, z, 1)
    return pytest.approx((u / w, v / w))


def test_numbers_are_float64_vectors_by_key(file):
    file.write_text('P0: 7.2e+02 0 -1.5\n\nR0_rect: 1\n')
    calibration = read_calibration(file)
    assert {key: values.tolist() for key, values in calibration.items()} == {
        'P0': [720.0, 0.0, -1.5],
        'R0_rect': [1.0],
    }
    assert all(values.dtype == np.float64 for values in calibration.values())


def test_file_of_a_raw_drive_is_read_without_its_date(file):
    file.write_text(RAW_DRIVE)
    calibration = read_calibration(str(file))
    assert list(calibration) == ['corner_dist', 'S_rect_02', 'R_rect_00', 'P_rect_02']
    assert calibration['S_rect_02'].tolist() == [1242, 375]
    assert matrix(calibration, 'P_rect_02', (3, 4))[:, 3].tolist() == [45, 0.2, 0.003]


@given(st.dictionaries(KEYS, st.lists(FINITE, min_size=1, max_size=12), max_size=6))
def test_written_numbers_come_back_bit_by_bit(file, numbers):
    file.write_text(''.join(f'{k}: {" ".join(map(repr, v))}\n' for k, v in numbers.items()))
    assert {key: values.tolist() for key, values in read_calibration(file).items()} == numbers


@given(st.binary(max_size=80))
def test_any_bytes_are_numbers_or_a_calibration_error(file, content):
    file.write_bytes(content)
    assert_numbers_or_one_line(file)


@given(st.lists(st.tuples(KEYS | st.text(), st.lists(TOKENS, max_size=4)), max_size=4))
def test_any_lines_are_numbers_or_a_calibration_error(file, entries):
    lines = [f'{key}: {" ".join(tokens)}' for key, tokens in entries]
    file.write_text('\n'.join(lines), encoding='utf-8', errors='replace')
    assert_numbers_or_one_line(file)


def assert_numbers_or_one_line(file):
    result = result_or_message(read_calibration, file)
    if isinstance(result, str):
        assert len(result.splitlines()) == 1
        assert str(file) in result
    else:
        for values in result.values():
            assert values.ndim == 1
            assert values.size
            assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('P3 1 2 3', r"'P3 1 2 3' is not 'key: number number \.\.\.'"),
        ('P3:', r"'P3:' is not 'key: number number \.\.\.'"),
        (': 1 2 3', r"': 1 2 3' is not 'key: number number \.\.\.'"),
        ('P3: 1 2,5 3', "'P3' has '2,5' instead of a finite number"),
        ('P3: 1 nan 3', "'P3' has 'nan' instead of a finite number"),
        ('P3: 1e999', "'P3' has '1e999' instead of a finite number"),
        ('P2: 1', "'P2' occurs twice; remove one of the lines"),
        ('date: 09-Jan-2012', "'date' occurs twice; remove one of the lines"),
    ],
)
def test_line_at_fault_is_named_with_its_file(file, line, message):
    file.write_text(f'P2: 1 2 3\ndate: 09-Jan-2012\n{line}\n')
    with pytest.raises(CalibrationError, match=f'{re.escape(str(file))}, line 3: {message}'):
        read_calibration(file)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r'none\.txt cannot be read \(No such file'):
        read_calibration(tmp_path / 'none.txt')


def test_folder_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match=r'cannot be read \(Is a directory\)'):
        read_calibration(tmp_path)


def test_picture_is_refused(file):
    file.write_bytes(b'P2: \x89PNG')
    with pytest.raises(CalibrationError, match=r'um_000000\.txt is not text \(byte 4\); give a'):
        read_calibration(file)


def test_matrix_is_filled_row_by_row():
    assert matrix({'S': np.arange(6.0)}, 'S', (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_missing_matrix_is_an_error_that_lists_the_keys():
    with pytest.raises(CalibrationError, match=r'has no P2 \(3 x 4 numbers\); its keys: P0, P1$'):
        matrix({'P0': np.zeros(12), 'P1': np.zeros(12)}, 'P2', (3, 4))
    with pytest.raises(CalibrationError, match=r'its keys: none$'):
        matrix({}, 'P2', (3, 4))


def test_matrix_with_another_number_of_values_is_refused():
    with pytest.raises(CalibrationError, match=r'P2 has 9 numbers; a 3 x 4 matrix needs 12'):
        matrix({'P2': np.zeros(9)}, 'P2', (3, 4))


def test_level_camera_sees_the_road_where_a_pinhole_does(calibration):
    homography = road_to_image(calibration)
    assert homography.shape == (3, 3)
    assert homography.dtype == np.float64
    # u = 600 + 700 * x / z, v = 200 + 700 * 1.5 / z.
    assert pixel(homography, 0, 10) == (600, 305)
    assert pixel(homography, -3, 20) == (495, 252.5)
    assert (homography @ (0, 10, 1))[2] > 0 > (homography @ (0, -10, 1))[2]


def test_position_of_the_camera_moves_what_it_sees(calibration):
    calibration['Tr_cam_to_road'][[3, 11]] = 0.5, 0.25
    # The camera is 0.5 m right and 0.25 m ahead of the road's origin.
    assert pixel(road_to_image(calibration), 3.0, 10.25) == (600 + 700 * 0.25, 305)


def test_rectification_turns_the_camera_before_it_projects(calibration):
    # A quarter turn about the axis of view: what is below the axis appears on its left.
    calibration['R0_rect'] = np.array([0, -1, 0, 1, 0, 0, 0, 0, 1], np.float64)
    assert pixel(road_to_image(calibration), 2, 10) == (600 - 700 * 1.5 / 10, 200 + 700 * 2 / 10)


def test_baseline_of_the_colour_camera_is_applied_after_the_turn(calibration):
    calibration['P2'][3] = 42.0
    assert pixel(road_to_image(calibration), 0, 10) == (600 + 4.2, 305)


@pytest.mark.parametrize(
    'rotation',
    [np.zeros((3, 3)), np.arange(1.0, 10.0).reshape(3, 3)],
    ids=['zero', 'hidden by rounding'],
)
def test_singular_motion_to_the_road_is_refused(calibration, rotation):
    calibration['Tr_cam_to_road'] = np.hstack([rotation, np.ones((3, 1))]).ravel()
    with pytest.raises(CalibrationError, match='Tr_cam_to_road is singular'):
        road_to_image(calibration)


@pytest.mark.parametrize('key', ['P2', 'R0_rect', 'Tr_cam_to_road'])
def test_each_of_the_three_matrices_is_asked_for(calibration, key):
    del calibration[key]
    with pytest.raises(CalibrationError, match=f'has no {key} '):
        road_to_image(calibration)


@pytest.mark.filterwarnings('error')
@given(npst.arrays(np.float64, 33, elements=FINITE))
def test_any_numbers_give_a_finite_homography_or_a_calibration_error(numbers):
    calibration = dict(
        zip(('P2', 'R0_rect', 'Tr_cam_to_road'), np.split(numbers, (12, 21)), strict=True)
    )
    result = result_or_message(road_to_image, calibration)
    assert isinstance(result, str) or np.isfinite(result).all()


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f'no KITTI road sample in {SAMPLE}')
@pytest.mark.parametrize(('frame', 'camera_height_m'), [('um_000000', 1.60), ('uu_000093', 1.66)])
def test_camera_of_a_kitti_frame_stands_above_the_road_and_looks_along_it(frame, camera_height_m):
    calibration = read_calibration(SAMPLE / f'{frame}.txt')
    cam_to_road = matrix(calibration, 'Tr_cam_to_road', (3, 4))
    assert -cam_to_road[1, 3] == pytest.approx(camera_height_m, abs=0.005)
    focal, _, center_u = matrix(calibration, 'P2', (3, 4))[0, :3]
    homography = road_to_image(calibration)
    near, far = (homography @ (0, z, 1) for z in (10, 40))
    for seen in (near, far):
        assert seen[0] / seen[2] == pytest.approx(center_u, abs=0.02 * focal)
    # Ten and forty metres ahead, less the camera's place and a small pitch.
    assert near[2] == pytest.approx(10, abs=0.5)
    assert (near[1] / near[2] - far[1] / far[2]) == pytest.approx(
        focal * camera_height_m * (1 / 10 - 1 / 40), rel=0.05
    )
