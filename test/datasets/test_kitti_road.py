import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.kitti_road import find_test_frames, kitti_road_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import frame_stems, write_image, write_kitti_road


@pytest.fixture
def kitti(tmp_path):
    return write_kitti_road(tmp_path)


def test_kitti_label_is_road_by_blue_valid_by_red_else_void():
    colors_bgr = np.uint8([[[255, 0, 255], [0, 0, 255], [0, 0, 0], [255, 0, 0]]])
    assert kitti_road_label(colors_bgr).tolist() == [[ROAD, BACKGROUND, VOID, VOID]]


def test_kitti_pairs_frames_with_road_labels_and_not_with_the_ego_lane(kitti):
    found = find_frames(kitti, 'all')
    assert len(found) == 15
    for frame in found:
        assert frame.label_path.name == frame.frame_path.name.replace('_', '_road_', 1)
        assert frame.category == frame.name.partition('_')[0]


def test_kitti_frames_know_their_calibration_where_they_have_one(kitti):
    (kitti / 'training/calib').mkdir()
    (kitti / 'training/calib/um_000001.txt').write_text('P2: 1\n')
    with_one = [f for f in find_frames(kitti, 'all') if f.calibration_path]
    assert frame_stems(with_one) == ['um_000001']
    assert with_one[0].calibration_path == kitti / 'training/calib/um_000001.txt'


def test_test_set_frames_are_named_as_the_server_wants_them(tmp_path):
    write_image(tmp_path / 'testing/image_2/umm_000007.png', np.full((4, 6, 3), (1, 2, 3)))
    (tmp_path / 'testing/calib').mkdir()
    (tmp_path / 'testing/calib/umm_000007.txt').write_text('P2: 1\n')
    (frame,) = find_test_frames(tmp_path)
    assert frame.submission_name == 'umm_road_000007.png'
    assert (frame.load() == (3, 2, 1)).all()


def test_folder_without_a_test_set_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='has no testing/image_2; give the folder of KITTI'):
        find_test_frames(tmp_path)


def test_test_frame_without_calibration_is_named(tmp_path):
    write_image(tmp_path / 'testing/image_2/um_000000.png', np.zeros((4, 6, 3)))
    with pytest.raises(DatasetError, match=r'has no calibration; .*um_000000.txt is expected'):
        find_test_frames(tmp_path)


def test_kitti_frame_in_a_subfolder_has_label_and_calibration_of_that_subfolder(tmp_path):
    for folder, blue in (('', 0), ('more/', 255)):
        write_image(tmp_path / f'training/image_2/{folder}um_000000.png', np.zeros((4, 6, 3)))
        gt = np.full((4, 6, 3), (blue, 0, 255))
        write_image(tmp_path / f'training/gt_image_2/{folder}um_road_000000.png', gt)
    (tmp_path / 'training/calib').mkdir()
    (tmp_path / 'training/calib/um_000000.txt').write_text('P2: 1\n')
    below, above = find_frames(tmp_path, 'all')
    assert (below.load()[1] == ROAD).all()
    assert (above.load()[1] == BACKGROUND).all()
    assert below.calibration_path is None
    assert above.calibration_path is not None


def test_test_frames_of_one_name_are_refused(tmp_path):
    (tmp_path / 'testing/calib').mkdir(parents=True)
    (tmp_path / 'testing/calib/um_000000.txt').write_text('P2: 1\n')
    for name in ('um_000000.png', 'again/um_000000.png'):
        write_image(tmp_path / 'testing/image_2' / name, np.zeros((4, 6, 3)))
    with pytest.raises(DatasetError, match=r'are both um_road_000000\.png for the server'):
        find_test_frames(tmp_path)
