import os
from pathlib import Path

import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import (
    SplitRule,
    find_frames,
    name_data_sets,
    refuse_unknown_hold_outs,
)
from test.helpers.labelled_frames import frame_stems, grey, write_image, write_kitti_road


@pytest.fixture
def kitti(tmp_path):
    return write_kitti_road(tmp_path)


def test_kitti_validation_is_the_tail_of_each_category(kitti):
    rule = SplitRule(val_fraction=0.2)
    val = frame_stems(find_frames(kitti, 'val', rule))
    assert val == ['um_000008', 'um_000009', 'umm_000004']
    train = frame_stems(find_frames(kitti, 'train', rule))
    assert len(train) == 12
    assert not set(train) & set(val)


def test_folds_are_contiguous_blocks_that_cover_each_category_once(kitti):
    folds = [find_frames(kitti, 'val', SplitRule(fold=(k, 3))) for k in (1, 2, 3)]
    assert frame_stems(folds[1]) == [
        'um_000003',
        'um_000004',
        'um_000005',
        'um_000006',
        'umm_000002',
    ]
    assert sorted(frame_stems(folds[0] + folds[1] + folds[2])) == sorted(
        frame_stems(find_frames(kitti, 'all'))
    )
    for k, fold in enumerate(folds, start=1):
        train = find_frames(kitti, 'train', SplitRule(fold=(k, 3)))
        assert sorted(frame_stems(train + fold)) == sorted(frame_stems(find_frames(kitti, 'all')))


@pytest.mark.parametrize(
    ('wrong', 'reason'),
    [
        ({'val_fraction': 1.0}, r'val_fraction 1.0 is not in \[0, 1\)'),
        ({'fold': (0, 5)}, 'invalid fold 0/5: K must be between 1 and 5'),
        ({'fold': (6, 5)}, 'invalid fold 6/5: K must be between 1 and 5'),
    ],
)
def test_split_rule_out_of_range_is_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        SplitRule(**wrong)


@pytest.fixture
def drives(tmp_path):
    """A data set with its own split, of the drives A, B and C."""
    for split, names in (('train', 'AAB'), ('val', 'AC')):
        for i, name in enumerate(names):
            write_image(tmp_path / split / f'{name}_{split}{i}.png', np.zeros((4, 6, 3)))
            write_image(tmp_path / f'{split}annot' / f'{name}_{split}{i}.png', grey(3))
    return tmp_path


def test_held_out_drive_validates_alone_and_is_not_trained_on(drives):
    rule = SplitRule(hold_out=('A_',))
    assert frame_stems(find_frames(drives, 'train', rule)) == ['B_train2']
    assert frame_stems(find_frames(drives, 'val', rule)) == ['A_train0', 'A_train1', 'A_val0']


@pytest.mark.parametrize('rule', [{}, {'fold': (2, 5)}])
def test_all_frames_beside_the_held_out_drive_are_trained_on(rule, tmp_path):
    names = [f'{drive}_{i}' for drive in 'AB' for i in range(5)]
    for name in names:
        write_image(tmp_path / f'images/{name}.png', np.zeros((4, 6, 3)))
        write_image(tmp_path / f'masks/{name}.png', grey(255))
    held_out = SplitRule(hold_out=('A_',), **rule)
    assert frame_stems(find_frames(tmp_path, 'val', held_out)) == names[:5]
    assert frame_stems(find_frames(tmp_path, 'train', held_out)) == names[5:]


def test_held_out_drive_does_not_change_which_frames_there_are(drives):
    names = frame_stems(find_frames(drives, 'all', SplitRule(hold_out=('A_',))))
    assert names == ['A_train0', 'A_train1', 'B_train2', 'A_val0', 'C_val1']


def test_data_set_without_a_held_out_drive_keeps_its_own_split(drives):
    other = SplitRule(hold_out=('X',))
    assert frame_stems(find_frames(drives, 'val', other)) == ['A_val0', 'C_val1']


def test_prefix_that_holds_out_nothing_anywhere_is_refused(drives, tmp_path):
    write_image(tmp_path / 'own' / 'images' / 'D_0.png', np.zeros((4, 6, 3)))
    write_image(tmp_path / 'own' / 'masks' / 'D_0.png', grey(255))
    roots = (drives, tmp_path / 'own')
    refuse_unknown_hold_outs(roots, SplitRule(hold_out=('A_', 'D_')))
    refuse_unknown_hold_outs(roots, SplitRule())
    text = "no frame's name begins with 'X_', so nothing would be held out; the first of 6 names"
    with pytest.raises(DatasetError, match=text):
        refuse_unknown_hold_outs(roots, SplitRule(hold_out=('A_', 'X_')))


def test_prefix_without_a_data_set_is_refused():
    text = "no frame's name begins with 'A_', so nothing would be held out; give --data$"
    with pytest.raises(DatasetError, match=text):
        refuse_unknown_hold_outs((), SplitRule(hold_out=('A_',)))


def test_folder_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(DatasetError, match='nowhere is not a folder; give the folder of a data'):
        find_frames(tmp_path / 'nowhere', 'train')


def test_unknown_layout_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='is not a known data set; it needs training/image_2'):
        find_frames(tmp_path, 'train')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_folder_inside_a_data_set_is_refused_with_that_of_the_data_set(kitti, split):
    text = f'{kitti}/training is not a known data set, but its parent is; give {kitti}'
    with pytest.raises(DatasetError) as refused:
        find_frames(kitti / 'training', split)
    assert str(refused.value) == text


def test_folder_inside_a_data_set_with_a_fault_is_refused_without_it(kitti):
    (kitti / 'training/gt_image_2/um_road_000000.png').unlink()
    with pytest.raises(DatasetError, match='training is not a known data set; it needs training'):
        find_frames(kitti / 'training', 'train')


@pytest.mark.parametrize(
    ('folders', 'names'),
    [
        (['a/road', 'b/road', 'c/road'], ['road', 'road_1', 'road_2']),
        (['a/road', 'road_1', 'b/road'], ['road', 'road_1', 'road_2']),
        (['my road', 'my car'], ['my road', 'my car']),
        (['rendered'], ['rendered_1']),
        ([b'caf\xe9'], ['caf\\xe9']),
        (['a\nb'], ['a_b']),
        (['x' * 255], ['x' * 60]),
    ],
)
def test_names_of_data_sets_are_printable_and_differ(folders, names, tmp_path):
    roots = [Path(os.fsdecode(os.path.join(bytes(tmp_path), os.fsencode(f)))) for f in folders]
    assert name_data_sets(roots) == names
