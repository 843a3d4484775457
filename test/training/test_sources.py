import cv2
import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from fcn_road_seg.training.frame_cache import FrameCache
from fcn_road_seg.training.sources import (
    find_sources,
    refuse_validation_without_road,
    split_share,
    summarize_reading,
)
from test.helpers.labelled_frames import grey, write_image


@pytest.fixture
def cache(tmp_path):
    return FrameCache(tmp_path / 'cache', max_bytes=10**6)


def own_frames(root, count=5):
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f'{folder}/{i}.png'), np.zeros((32, 48), np.uint8))
    return str(root)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_frames_are_read_as_their_data_set_reads_them(tmp_path, cache, split):
    # Image pairs read both frame and label in a way of their own.
    rng = np.random.default_rng(0)
    for number in range(5):
        pair_bgr = rng.integers(0, 256, (16, 32, 3), np.uint8)
        write_image(tmp_path / f'train/{number}.jpg', pair_bgr)
    (found,) = find_sources([str(tmp_path)], None, SplitRule())
    expected = [frame.load() for frame in find_frames(tmp_path, split)]
    frames = getattr(found.read(cache, 10_000, workers=0), split)
    assert len(frames) == len(expected)
    for index, (expected_rgb, expected_label) in enumerate(expected):
        frame, label = frames[index]
        assert np.array_equal(frame.permute(1, 2, 0), expected_rgb)
        assert np.array_equal(label, expected_label)


@pytest.mark.parametrize(
    ('item', 'expected'), [('a/b', ('a/b', None)), ('a=0.5', ('a', 0.5)), ('a=b=2', ('a=b', 2.0))]
)
def test_share_is_what_follows_the_last_equals_sign(item, expected):
    assert split_share(item) == expected


@pytest.mark.parametrize('item', ['a=', 'a=x', 'a=0', 'a=-1', 'a=nan', 'a=inf'])
def test_share_that_is_no_positive_number_is_refused(item):
    with pytest.raises(DatasetError, match=r'is not a positive number; use, for example, DIR='):
        split_share(item)


def test_few_frames_count_as_much_as_all(tmp_path, cache):
    root = own_frames(tmp_path / 'own', 20)
    for item, share in ((root, 16), (f'{root}=0.5', 0.5)):
        (found,) = find_sources([item], None, SplitRule())
        few = found.few().read(cache, 10_000, workers=0)
        assert (few.share, len(few.train), len(few.val)) == (share, 8, 2)


def test_data_sets_of_one_name_are_told_apart(tmp_path, cache):
    a, b = own_frames(tmp_path / 'a/own'), own_frames(tmp_path / 'b/own')
    found = find_sources([a, f'{b}=3'], None, SplitRule())
    sources = [source.read(cache, 10_000, workers=0) for source in found]
    assert [(s.name, s.share) for s in sources] == [('own', 4), ('own_1', 3.0)]


def test_folder_with_an_equals_sign_in_its_name_has_no_share(tmp_path):
    root = own_frames(tmp_path / 'date=2024')
    assert split_share(root) == (root, None)
    assert split_share(f'{root}=0.5') == (root, 0.5)


def test_data_set_named_like_the_rendered_scenes_is_told_apart_from_them(tmp_path):
    root = own_frames(tmp_path / 'rendered')
    found = find_sources([root], '4', SplitRule())
    assert [source.name for source in found] == ['rendered_1', 'rendered']


def test_misspelt_drive_is_refused_and_not_trained_on(tmp_path):
    root = own_frames(tmp_path / 'own')
    with pytest.raises(DatasetError, match="no frame's name begins with 'typo'"):
        find_sources([root], None, SplitRule(hold_out=('typo',)))


def test_data_set_with_nothing_left_to_train_on_is_named(tmp_path):
    root = own_frames(tmp_path / 'own')
    with pytest.raises(
        DatasetError, match='own has no training frames left; hold out fewer frames'
    ):
        find_sources([root], None, SplitRule(fold=(1, 1)))


@pytest.mark.parametrize('count', ['many', '0', '-4'])
def test_invalid_count_of_rendered_frames_is_refused(count):
    with pytest.raises(
        DatasetError, match=f"--rendered '{count}' is not a number of frames; use at least 1"
    ):
        find_sources([], count, SplitRule())


@pytest.mark.parametrize('workers', [0, 2])
def test_first_damaged_file_is_named_before_the_training(tmp_path, cache, workers):
    root = own_frames(tmp_path / 'own', count=10)
    (tmp_path / 'own/masks/3.png').write_bytes(b'\x89PNG')
    (found,) = find_sources([root], None, SplitRule())
    with pytest.raises(DatasetError, match=r'^\S+own/masks/3.png cannot be read: .*') as refused:
        found.read(cache, 10_000, workers)
    assert '\n' not in str(refused.value)


def test_reading_is_summed_up_with_its_speed_and_the_cache(tmp_path, cache):
    root = own_frames(tmp_path / 'own')
    (found,) = find_sources([root], None, SplitRule())
    first, second = ([found.read(cache, 10_000, workers=0)] for _ in range(2))
    kept = f'cache {cache.folder}: 0.00 of at most 0.001 GB'
    assert summarize_reading(first, cache, seconds=0.5) == [
        '5 frames, 5 of them decoded at 10 frames/s',
        kept,
    ]
    assert summarize_reading(second, cache, seconds=0.5) == ['5 frames', kept]


def test_frames_that_the_cache_has_no_room_for_are_counted_with_advice(tmp_path):
    # Room for two frames of 32 x 48.
    cache = FrameCache(tmp_path / 'cache', max_bytes=13_000)
    (found,) = find_sources([own_frames(tmp_path / 'own')], None, SplitRule())
    lines = summarize_reading([found.read(cache, 10_000, workers=2)], cache, seconds=1)
    assert lines[-1] == (
        '3 frames are not in the cache and are decoded each time they are used; raise '
        '--cache-size or free some space'
    )


def test_validation_frames_without_road_are_refused_as_they_cannot_tell_networks_apart(
    tmp_path, cache
):
    roots = [own_frames(tmp_path / name) for name in 'ab']
    # The first 4 of 5 frames of a data set are for training, the last one is for validation.
    write_image(tmp_path / 'a/masks/3.png', grey(255, (32, 48)))

    def sources(rule):
        return [s.read(cache, 10_000, workers=0) for s in find_sources(roots, None, rule)]

    with pytest.raises(DatasetError, match='no validation frame of a, b has road, so their IoU'):
        refuse_validation_without_road(sources(SplitRule()))
    refuse_validation_without_road(sources(SplitRule(val_fraction=0.4)))
    refuse_validation_without_road(sources(SplitRule(val_fraction=0)))
