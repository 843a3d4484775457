import re

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as npst

from fcn_road_seg.datasets.camvid import camvid_label
from fcn_road_seg.datasets.frames import DatasetError, limit_size
from fcn_road_seg.datasets.idd_lite import idd_lite_label
from fcn_road_seg.datasets.image_mask import plain_label
from fcn_road_seg.datasets.kitti_road import find_test_frames, kitti_road_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from fcn_road_seg.training.data_module import RoadFrames


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(pixels, np.uint8))


def grey(value, hw=(4, 6)):
    return np.full(hw, value, np.uint8)


@pytest.fixture
def kitti(tmp_path):
    for category, count in (('um', 10), ('umm', 5)):
        for i in range(count):
            write(tmp_path / f'training/image_2/{category}_{i:06d}.png', np.zeros((4, 6, 3)))
            gt = np.zeros((4, 6, 3))
            gt[..., 2] = 255
            write(tmp_path / f'training/gt_image_2/{category}_road_{i:06d}.png', gt)
    # The ego lane's ground truth lies in the same folder, and is another task's.
    write(tmp_path / 'training/gt_image_2/um_lane_000000.png', np.full((4, 6, 3), 255))
    return tmp_path


def names(frames):
    return [frame.frame_path.stem for frame in frames]


def test_kitti_label_is_road_by_blue_valid_by_red_else_void():
    colors_bgr = np.uint8([[[255, 0, 255], [0, 0, 255], [0, 0, 0], [255, 0, 0]]])
    assert kitti_road_label(colors_bgr).tolist() == [[ROAD, BACKGROUND, VOID, VOID]]


def test_camvid_label_is_road_by_index_3_void_by_11():
    expected = [BACKGROUND] * 3 + [ROAD] + [BACKGROUND] * 7 + [VOID]
    assert camvid_label(np.arange(12, dtype=np.uint8)[None]).tolist() == [expected]


def test_idd_lite_label_is_road_by_index_0_void_by_255():
    label = idd_lite_label(np.uint8([[0, 1, 6, 255]]))
    assert label.tolist() == [[ROAD, BACKGROUND, BACKGROUND, VOID]]


def test_plain_label_is_road_by_255_or_1_and_void_by_128():
    assert plain_label(np.uint8([[0, 128, 255]])).tolist() == [[BACKGROUND, VOID, ROAD]]
    assert plain_label(np.uint8([[0, 127, 1]])).tolist() == [[BACKGROUND, VOID, ROAD]]


def test_plain_label_with_two_candidates_for_road_is_refused():
    with pytest.raises(ValueError, match='only one of them can be road'):
        plain_label(np.uint8([[0, 1, 255]]))


@pytest.mark.parametrize('decode', [camvid_label, idd_lite_label, plain_label])
@given(raw=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=3, max_side=5)))
def test_any_index_image_gives_known_labels_or_an_error(decode, raw):
    try:
        label = decode(raw)
    except ValueError:
        return
    assert set(np.unique(label)) <= {BACKGROUND, ROAD, VOID}
    assert label.shape == raw.shape


@pytest.mark.parametrize(
    ('decode', 'value'), [(camvid_label, 12), (idd_lite_label, 7), (plain_label, 2)]
)
def test_unknown_label_value_is_named(decode, value):
    with pytest.raises(ValueError, match=f'label value {value} is unknown'):
        decode(np.uint8([[0, value]]))


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
    assert names(with_one) == ['um_000001']
    assert with_one[0].calibration_path == kitti / 'training/calib/um_000001.txt'


def test_kitti_validation_is_the_tail_of_each_category(kitti):
    rule = SplitRule(val_fraction=0.2)
    val = names(find_frames(kitti, 'val', rule))
    assert val == ['um_000008', 'um_000009', 'umm_000004']
    train = names(find_frames(kitti, 'train', rule))
    assert len(train) == 12
    assert not set(train) & set(val)


def test_folds_are_contiguous_blocks_that_cover_each_category_once(kitti):
    folds = [find_frames(kitti, 'val', SplitRule(fold=(k, 3))) for k in (1, 2, 3)]
    assert names(folds[1]) == ['um_000003', 'um_000004', 'um_000005', 'um_000006', 'umm_000002']
    assert sorted(names(folds[0] + folds[1] + folds[2])) == sorted(
        names(find_frames(kitti, 'all'))
    )
    for k, fold in enumerate(folds, start=1):
        train = find_frames(kitti, 'train', SplitRule(fold=(k, 3)))
        assert sorted(names(train + fold)) == sorted(names(find_frames(kitti, 'all')))


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        ({'val_fraction': 1.0}, r'val_fraction 1.0 is not in \[0, 1\)'),
        ({'fold': (0, 5)}, 'fold 0/5 is none; say 1/5 to 5/5'),
        ({'fold': (6, 5)}, 'fold 6/5 is none'),
    ],
)
def test_split_that_cannot_be_had_is_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        SplitRule(**wrong)


def test_held_out_drive_validates_alone_and_is_not_trained_on(tmp_path):
    for split, drives in (('train', 'AAB'), ('val', 'AC')):
        for i, drive in enumerate(drives):
            write(tmp_path / split / f'{drive}_{split}{i}.png', np.zeros((4, 6, 3)))
            write(tmp_path / f'{split}annot' / f'{drive}_{split}{i}.png', grey(3))
    rule = SplitRule(hold_out=('A_',))
    assert names(find_frames(tmp_path, 'train', rule)) == ['B_train2']
    assert names(find_frames(tmp_path, 'val', rule)) == ['A_train0', 'A_train1', 'A_val0']
    # Of a data set without such frames the split is its own.
    other = SplitRule(hold_out=('X',))
    assert names(find_frames(tmp_path, 'val', other)) == ['A_val0', 'C_val1']


def test_test_set_frames_are_named_as_the_server_wants_them(tmp_path):
    write(tmp_path / 'testing/image_2/umm_000007.png', np.full((4, 6, 3), (1, 2, 3)))
    (tmp_path / 'testing/calib').mkdir()
    (tmp_path / 'testing/calib/umm_000007.txt').write_text('P2: 1\n')
    (frame,) = find_test_frames(tmp_path)
    assert frame.submission_name == 'umm_road_000007.png'
    assert (frame.load() == (3, 2, 1)).all()


def test_test_set_that_is_not_there_or_lacks_calibration_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='has no testing/image_2; give the folder of KITTI'):
        find_test_frames(tmp_path)
    write(tmp_path / 'testing/image_2/um_000000.png', np.zeros((4, 6, 3)))
    with pytest.raises(DatasetError, match=r'has no calibration; .*um_000000.txt is expected'):
        find_test_frames(tmp_path)


def test_camvid_has_its_own_split(tmp_path):
    for split, count in (('train', 3), ('val', 2)):
        for i in range(count):
            write(tmp_path / split / f'drive_{i}.png', np.zeros((4, 6, 3)))
            write(tmp_path / f'{split}annot' / f'drive_{i}.png', grey(3))
    assert len(find_frames(tmp_path, 'train')) == 3
    (frame, _) = find_frames(tmp_path, 'val')
    assert (frame.load()[1] == ROAD).all()
    assert (frame.load_raw_label() == 3).all()
    assert frame.classes[3] == 'road'
    assert frame.classes[11] == 'unlabelled'


def test_idd_lite_pairs_frames_across_its_numbered_folders(tmp_path):
    write(tmp_path / 'leftImg8bit/val/17/0001_image.jpg', np.zeros((4, 6, 3)))
    write(tmp_path / 'gtFine/val/17/0001_label.png', grey(255))
    (frame,) = find_frames(tmp_path, 'val')
    assert (frame.load()[1] == VOID).all()


def test_plain_folder_pairs_by_name_and_keeps_colours_in_rgb(tmp_path):
    for i in range(5):
        write(tmp_path / f'images/{i}.png', np.full((4, 6, 3), (1, 2, 3)))
        write(tmp_path / f'masks/{i}.png', grey(255))
    assert names(find_frames(tmp_path, 'val')) == ['4']
    frame_rgb, label = find_frames(tmp_path, 'train')[0].load()
    assert (frame_rgb == (3, 2, 1)).all()
    assert (label == ROAD).all()


def test_unknown_layout_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='is no known data set; it needs training/image_2'):
        find_frames(tmp_path, 'train')


def test_frame_without_label_is_named(kitti):
    missing = kitti / 'training/gt_image_2/um_road_000003.png'
    missing.unlink()
    expected = re.escape(f'um_000003.png has no label; {missing}')
    with pytest.raises(DatasetError, match=expected):
        find_frames(kitti, 'train')


def test_frame_that_is_no_image_is_named(kitti):
    (kitti / 'training/image_2/um_000000.png').write_bytes(b'not a picture')
    with pytest.raises(DatasetError, match=r'um_000000.png is not a readable image'):
        find_frames(kitti, 'train')[0].load()


def test_label_of_another_size_is_named(kitti):
    write(kitti / 'training/gt_image_2/um_road_000000.png', np.zeros((3, 6, 3)))
    with pytest.raises(DatasetError, match=r'um_road_000000.png is \(3, 6\) .* its frame'):
        find_frames(kitti, 'train')[0].load()


def test_label_with_an_unknown_value_is_named(tmp_path):
    write(tmp_path / 'images/a.png', np.zeros((4, 6, 3)))
    write(tmp_path / 'masks/a.png', grey(7))
    with pytest.raises(DatasetError, match=r'a\.png: label value 7 is unknown'):
        find_frames(tmp_path, 'train')[0].load()


def test_reduced_labels_are_never_interpolated():
    label = np.random.default_rng(0).choice(np.uint8([BACKGROUND, ROAD, VOID]), (90, 120))
    frame_rgb = np.zeros((90, 120, 3), np.uint8)
    small_rgb, small = limit_size(frame_rgb, label, max_pixels=30 * 40)
    assert small.shape == small_rgb.shape[:2] == (30, 40)
    assert set(np.unique(small)) <= {BACKGROUND, ROAD, VOID}


def test_small_frames_are_not_enlarged():
    frame_rgb, label = np.zeros((9, 12, 3), np.uint8), np.zeros((9, 12), np.uint8)
    assert limit_size(frame_rgb, label, max_pixels=10_000)[1] is label


def test_road_frames_are_channel_first_uint8_tensors():
    frame_rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frame, label = RoadFrames([(frame_rgb, np.zeros((2, 4), np.uint8))])[0]
    assert frame.dtype == label.dtype == torch.uint8
    assert frame.shape == (3, 2, 4)
    assert frame[:, 1, 2].tolist() == frame_rgb[1, 2].tolist()
