import numpy as np
import pytest

from fcn_road_seg.datasets.idd_lite import idd_lite_label
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import grey, write_image


def test_idd_lite_label_is_road_by_index_0_void_by_255():
    label = idd_lite_label(np.uint8([[0, 1, 6, 255]]))
    assert label.tolist() == [[ROAD, BACKGROUND, BACKGROUND, VOID]]
    with pytest.raises(ValueError, match='label value 7 is unknown'):
        idd_lite_label(np.uint8([[7]]))


def test_idd_lite_pairs_frames_across_its_numbered_folders(tmp_path):
    write_image(tmp_path / 'leftImg8bit/val/17/0001_image.jpg', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'gtFine/val/17/0001_label.png', grey(255))
    (frame,) = find_frames(tmp_path, 'val')
    assert (frame.load()[1] == VOID).all()
    assert frame.classes[6] == 'sky'
