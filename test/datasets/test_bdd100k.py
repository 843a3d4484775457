"""BDD100K: drivable areas if they are there, else semantic masks."""

import numpy as np
import pytest

from fcn_road_seg.datasets.bdd100k import drivable_label, semantic_label
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import grey, write_image


def test_direct_and_alternative_areas_are_road():
    assert drivable_label(np.uint8([[0, 1, 2, 255]])).tolist() == [[ROAD, ROAD, BACKGROUND, VOID]]


def test_semantic_road_is_train_id_0():
    label = semantic_label(np.uint8([[0, 1, 18, 255]]))
    assert label.tolist() == [[ROAD, BACKGROUND, BACKGROUND, VOID]]


@pytest.fixture
def drivable(tmp_path):
    for split, name in (('train', 'a'), ('val', 'b')):
        write_image(tmp_path / f'images/100k/{split}/{name}.jpg', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'labels/drivable/masks/{split}/{name}.png', grey(1))
    return tmp_path


def test_frames_keep_the_split_of_their_folders(drivable):
    assert [f.name for f in find_frames(drivable, 'train')] == ['a']
    (frame,) = find_frames(drivable, 'val')
    assert frame.name == 'b'
    assert (frame.load()[1] == ROAD).all()
    assert frame.classes[1] == 'alternative'


def test_frame_without_a_mask_is_left_out(drivable):
    write_image(drivable / 'images/100k/train/unlabelled.jpg', np.zeros((4, 6, 3)))
    assert [f.name for f in find_frames(drivable, 'train')] == ['a']


def test_mask_without_its_frame_is_named(drivable):
    (drivable / 'images/100k/val/b.jpg').unlink()
    with pytest.raises(DatasetError, match=r'b\.jpg does not exist, but its label'):
        find_frames(drivable, 'val')


def test_semantic_masks_go_with_the_10k_images(tmp_path):
    write_image(tmp_path / 'images/10k/train/a.jpg', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'labels/sem_seg/masks/train/a.png', grey(0))
    write_image(tmp_path / 'images/10k/val/b.jpg', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'labels/sem_seg/masks/val/b.png', grey(13))
    (frame,) = find_frames(tmp_path, 'val')
    assert (frame.load()[1] == BACKGROUND).all()
    assert frame.classes[13] == 'car'
