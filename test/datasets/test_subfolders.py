"""Frames in subfolders have their labels in the same subfolders, in every layout."""

import numpy as np
import pytest

from fcn_road_seg.datasets.splits import find_frames
from test.helpers.labelled_frames import write_image


@pytest.mark.parametrize(
    ('images', 'labels'),
    [
        ('images', 'masks'),
        ('imgs', 'masks'),
        ('training/image_2', 'training/semantic'),
        ('images/100k/train', 'labels/drivable/masks/train'),
    ],
)
def test_frames_of_one_name_in_two_subfolders_have_labels_of_their_own(images, labels, tmp_path):
    pairs = []
    for drive in ('a', 'b'):
        pairs.append((tmp_path / images / drive / '0.jpg', tmp_path / labels / drive / '0.png'))
        for path in pairs[-1]:
            write_image(path, np.zeros((1, 1, 3)))
    found = find_frames(tmp_path, 'train')
    assert [(frame.frame_path, frame.label_path) for frame in found] == pairs
