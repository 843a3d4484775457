import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.image_mask import plain_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import frame_stems, grey, write_image


def test_plain_label_is_road_by_255_or_1_and_void_by_128():
    assert plain_label(np.uint8([[0, 128, 255]])).tolist() == [[BACKGROUND, VOID, ROAD]]
    assert plain_label(np.uint8([[0, 127, 1]])).tolist() == [[BACKGROUND, VOID, ROAD]]


def test_plain_label_with_two_candidates_for_road_is_refused():
    with pytest.raises(ValueError, match='only one of them can be road'):
        plain_label(np.uint8([[0, 1, 255]]))


def test_plain_folder_pairs_by_name_and_keeps_colours_in_rgb(tmp_path):
    for i in range(5):
        write_image(tmp_path / f'images/{i}.png', np.full((4, 6, 3), (1, 2, 3)))
        write_image(tmp_path / f'masks/{i}.png', grey(255))
    assert frame_stems(find_frames(tmp_path, 'val')) == ['4']
    frame_rgb, label = find_frames(tmp_path, 'train')[0].load()
    assert (frame_rgb == (3, 2, 1)).all()
    assert (label == ROAD).all()


def test_frame_in_a_subfolder_has_the_mask_of_that_subfolder(tmp_path):
    for name, value in (('a', 0), ('aug/a', 255)):
        write_image(tmp_path / f'images/{name}.jpg', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'masks/{name}.png', grey(value))
    plain, augmented = find_frames(tmp_path, 'all')
    assert (plain.load()[1] == BACKGROUND).all()
    assert (augmented.load()[1] == ROAD).all()


def test_frame_in_a_subfolder_without_a_mask_there_is_named(tmp_path):
    write_image(tmp_path / 'images/aug/a.png', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'masks/a.png', grey(255))
    with pytest.raises(DatasetError, match=r'masks/aug/a\.png is expected'):
        find_frames(tmp_path, 'all')
