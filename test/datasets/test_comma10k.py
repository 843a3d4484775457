"""comma10k: told by its folders, labelled by five colours."""

import numpy as np
import pytest

from fcn_road_seg.datasets.comma10k import comma10k_label
from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import write_image

COLOURS_RGB = {
    'road': (0x40, 0x20, 0x20),
    'lane markings': (0xFF, 0, 0),
    'undrivable': (0x80, 0x80, 0x60),
    'movable': (0, 0xFF, 0x66),
    'my car': (0xCC, 0, 0xFF),
}


def mask_bgr(*names):
    return np.uint8([[COLOURS_RGB[name][::-1] for name in names]])


def test_road_and_its_markings_are_road_and_the_rest_is_not():
    label = comma10k_label(mask_bgr(*COLOURS_RGB))
    assert label.tolist() == [[ROAD, ROAD, BACKGROUND, BACKGROUND, BACKGROUND]]


def test_alpha_is_not_looked_at():
    bgra = np.dstack([mask_bgr('road'), np.uint8([[7]])])
    assert comma10k_label(bgra).tolist() == [[ROAD]]


def test_unknown_colour_is_named():
    with pytest.raises(ValueError, match='colour #010203 is unknown; comma10k has #402020'):
        comma10k_label(np.uint8([[[3, 2, 1]]]))


@pytest.mark.parametrize('mask', [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint16)])
def test_mask_without_8_bit_colours_is_refused(mask):
    with pytest.raises(ValueError, match='has 8-bit colours'):
        comma10k_label(mask)


def test_frames_are_those_of_imgs_with_the_mask_of_their_name(tmp_path):
    write_image(tmp_path / 'imgs/0000_a.png', np.zeros((1, 5, 3)))
    write_image(tmp_path / 'masks/0000_a.png', mask_bgr(*COLOURS_RGB))
    (frame,) = find_frames(tmp_path, 'all')
    assert frame.load()[1].tolist() == [[ROAD, ROAD, BACKGROUND, BACKGROUND, BACKGROUND]]


def test_frame_without_its_mask_is_named(tmp_path):
    write_image(tmp_path / 'imgs/0000_a.png', np.zeros((1, 5, 3)))
    (tmp_path / 'masks').mkdir()
    with pytest.raises(DatasetError, match=r'0000_a\.png has no label'):
        find_frames(tmp_path, 'all')
