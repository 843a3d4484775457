import os
import stat

import numpy as np
import pytest

from fcn_road_seg.datasets.label_folder import atomic_label_folder
from fcn_road_seg.datasets.voc import find_voc_frames
from fcn_road_seg.datasets.voc_folder import VocFolder
from fcn_road_seg.utils.picture import encode_png

MASK = np.zeros((4, 6), np.uint8)


def test_names_are_made_plain_and_told_apart(tmp_path):
    with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
        for name in ('a b/c', 'a_b_c', 'a_b_c', 'straße'):
            folder.add(name, b'', '.png', MASK)
    listed = (tmp_path / 'out/ImageSets/Segmentation/default.txt').read_text().split()
    assert listed == ['a_b_c', 'a_b_c_1', 'a_b_c_2', 'stra_e']


def test_name_that_begins_with_a_dot_hides_no_frame(tmp_path):
    with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
        for name in ('.bag_image_1', '.._image_1'):
            folder.add(name, encode_png(np.zeros((4, 6, 3), np.uint8)), '.png', MASK)
    names = [frame.name for frame in find_voc_frames(tmp_path / 'out')]
    assert sorted(names) == ['_._image_1', '_bag_image_1']


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_folder_has_the_permissions_that_the_umask_leaves(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
            folder.add('a', b'', '.png', MASK)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'out').stat().st_mode) == mode


def test_error_leaves_nothing(tmp_path):
    def fail():
        with atomic_label_folder(tmp_path / 'out', VocFolder) as folder:
            folder.add('a', b'', '.png', MASK)
            raise KeyError('a')

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())


def test_folder_that_exists_is_refused_and_so_is_a_link_to_none(tmp_path):
    link = tmp_path / 'link'
    link.symlink_to('nowhere')
    for out in (tmp_path, link):
        with (
            pytest.raises(ValueError, match=f'{out} exists already; use another folder'),
            atomic_label_folder(out, VocFolder),
        ):
            pass
