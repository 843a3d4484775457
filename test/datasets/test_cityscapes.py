"""Cityscapes' own layout, its image pairs, and KITTI semantics, which shares its ids."""

import re

import cv2
import numpy as np
import pytest

from fcn_road_seg.datasets.cityscapes import CITYSCAPES_CLASSES, cityscapes_label
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from test.helpers.labelled_frames import grey, write_image

ROAD_RGB, SIDEWALK_RGB, PARKING_RGB = (128, 64, 128), (244, 35, 232), (250, 170, 160)


def pair(frame_bgr, colours_rgb):
    """Return frame and label side by side, the label's columns in equal parts of the colours."""
    h, w = frame_bgr.shape[:2]
    label = np.concatenate(
        [np.full((h, w // len(colours_rgb), 3), colour[::-1], np.uint8) for colour in colours_rgb],
        axis=1,
    )
    return np.concatenate([frame_bgr, label], axis=1)


def write_pairs(root, numbers, split='train'):
    for number in numbers:
        write_image(root / split / f'{number}.jpg', pair(np.full((16, 16, 3), 90), [ROAD_RGB] * 2))


def test_label_is_road_by_id_7_and_void_below_it():
    label = cityscapes_label(np.uint8([[0, 6, 7, 8, 9, 33, 255]]))
    assert label.tolist() == [[VOID, VOID, ROAD, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND]]


def test_unknown_id_is_named():
    with pytest.raises(ValueError, match='label value 34 is unknown'):
        cityscapes_label(np.uint8([[34]]))


def test_classes_stand_at_their_ids():
    assert CITYSCAPES_CLASSES[7:9] == ('road', 'sidewalk')
    assert CITYSCAPES_CLASSES[26] == 'car'
    assert len(CITYSCAPES_CLASSES) == 34


def test_pair_is_shown_at_two_to_one(tmp_path):
    write_pairs(tmp_path, [1])
    frame_rgb, label = find_frames(tmp_path, 'all')[0].load()
    assert frame_rgb.shape == (16, 32, 3)
    assert label.shape == (16, 32)


def test_pair_takes_its_left_half_as_frame_in_rgb(tmp_path):
    frame_bgr = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    write_image(tmp_path / 'train/1.jpg', pair(frame_bgr, [ROAD_RGB]), quality=100)
    frame_rgb, _ = find_frames(tmp_path, 'all')[0].load()
    assert np.abs(frame_rgb[:, :24].astype(int) - (30, 100, 200)).max() < 6


def test_pair_label_is_the_nearest_colour_of_its_right_half(tmp_path):
    colours = [ROAD_RGB, SIDEWALK_RGB, PARKING_RGB, (0, 0, 0)]
    write_image(
        tmp_path / 'train/1.jpg', pair(np.zeros((32, 32, 3), np.uint8), colours), quality=95
    )
    _, label = find_frames(tmp_path, 'all')[0].load()
    middles = label[16, [8, 24, 40, 56]].tolist()
    assert middles == [ROAD, BACKGROUND, BACKGROUND, VOID]


def test_pair_label_is_void_beside_another_class(tmp_path):
    write_image(
        tmp_path / 'train/1.jpg', pair(np.zeros((32, 32, 3), np.uint8), [ROAD_RGB, SIDEWALK_RGB])
    )
    _, label = find_frames(tmp_path, 'all')[0].load()
    assert (label[:, 30:34] == VOID).all()
    assert (label[:, :26] == ROAD).all()


def test_pair_tells_the_classes_of_its_pixels(tmp_path):
    write_image(
        tmp_path / 'train/1.jpg', pair(np.zeros((32, 32, 3), np.uint8), [ROAD_RGB, SIDEWALK_RGB])
    )
    (frame,) = find_frames(tmp_path, 'all')
    ids = frame.load_raw_label()
    assert [frame.classes[ids[16, x]] for x in (8, 56)] == ['road', 'sidewalk']


def test_pairs_follow_their_numbers_so_that_whole_cities_validate(tmp_path):
    write_pairs(tmp_path, range(1, 13))
    val = find_frames(tmp_path, 'val', SplitRule(val_fraction=0.25))
    assert [frame.name for frame in val] == ['10', '11', '12']


def test_pairs_with_a_val_folder_keep_that_split(tmp_path):
    write_pairs(tmp_path, [1, 2, 3])
    write_pairs(tmp_path, [7], split='val')
    assert [frame.name for frame in find_frames(tmp_path, 'val')] == ['7']
    assert [frame.name for frame in find_frames(tmp_path, 'train')] == ['1', '2', '3']


def test_pair_of_another_shape_is_refused_with_its_size(tmp_path):
    write_image(tmp_path / 'train/1.jpg', np.zeros((16, 33, 3)))
    with pytest.raises(DatasetError, match=r'1\.jpg is 33 x 16 \(W x H\); an image pair is twice'):
        find_frames(tmp_path, 'all')[0].load()


@pytest.fixture
def cityscapes(tmp_path):
    for split, city in (('train', 'aachen'), ('train', 'ulm'), ('val', 'lindau')):
        name = f'{city}_000000_000019'
        write_image(
            tmp_path / f'leftImg8bit/{split}/{city}/{name}_leftImg8bit.png', np.zeros((4, 6, 3))
        )
        write_image(tmp_path / f'gtFine/{split}/{city}/{name}_gtFine_labelIds.png', grey(7))
        # What lies beside them, and is no label of ids.
        write_image(
            tmp_path / f'gtFine/{split}/{city}/{name}_gtFine_color.png', np.zeros((4, 6, 3))
        )
    return tmp_path


def test_cityscapes_pairs_frames_with_label_ids(cityscapes):
    train = find_frames(cityscapes, 'train')
    assert [f.label_path.name for f in train] == [
        'aachen_000000_000019_gtFine_labelIds.png',
        'ulm_000000_000019_gtFine_labelIds.png',
    ]
    assert (train[0].load()[1] == ROAD).all()


def test_cityscapes_keeps_its_own_split(cityscapes):
    (frame,) = find_frames(cityscapes, 'val')
    assert frame.name == 'lindau_000000_000019_leftImg8bit'


def test_cityscapes_frame_without_label_ids_is_named(cityscapes):
    (cityscapes / 'gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png').unlink()
    with pytest.raises(DatasetError, match=r'lindau_000000_000019_leftImg8bit\.png has no label'):
        find_frames(cityscapes, 'val')


def test_gtfine_without_labels_of_a_known_kind_is_refused(tmp_path):
    write_image(tmp_path / 'gtFine/train/x/a_gtFine_color.png', np.zeros((4, 6, 3)))
    with pytest.raises(
        DatasetError, match=re.escape('gtFine holds neither *_gtFine_labelIds.png')
    ):
        find_frames(tmp_path, 'train')


def test_kitti_semantics_is_told_from_kitti_road_by_its_folder(tmp_path):
    for i in range(5):
        write_image(tmp_path / f'training/image_2/{i:06d}_10.png', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'training/semantic/{i:06d}_10.png', grey(7 if i else 8))
    found = find_frames(tmp_path, 'all')
    assert len(found) == 5
    assert (found[0].load()[1] == BACKGROUND).all()
    assert (found[1].load()[1] == ROAD).all()
    assert found[1].classes[7] == 'road'


def test_kitti_semantics_validates_on_its_tail(tmp_path):
    for i in range(5):
        write_image(tmp_path / f'training/image_2/{i:06d}_10.png', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'training/semantic/{i:06d}_10.png', grey(7))
    assert [f.name for f in find_frames(tmp_path, 'val')] == ['000004_10']


def test_a_pair_that_is_no_image_is_named(tmp_path):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train/3.jpg').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'3\.jpg'):
        find_frames(tmp_path, 'all')[0].load()
    assert cv2.imread(str(tmp_path / 'train/3.jpg')) is None
