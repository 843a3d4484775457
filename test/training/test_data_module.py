import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from test.helpers.labelled_frames import write_image

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.data_module import (
    RoadFrames,
    ShareSampler,
    Source,
    find_sources,
    split_share,
    train_loader,
)


def own_frames(root, count=5):
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f'{folder}/{i}.png'), np.zeros((32, 48), np.uint8))
    return str(root)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_frames_are_read_as_their_data_set_reads_them(tmp_path, split):
    # Image pairs read both frame and label in a way of their own.
    rng = np.random.default_rng(0)
    for number in range(5):
        pair_bgr = rng.integers(0, 256, (16, 32, 3), np.uint8)
        write_image(tmp_path / f'train/{number}.jpg', pair_bgr)
    (source,) = find_sources([str(tmp_path)], None, SplitRule())
    expected = [frame.load() for frame in find_frames(tmp_path, split)]
    read = list(getattr(source, split))
    for (frame_rgb, label), (expected_rgb, expected_label) in zip(read, expected, strict=True):
        assert np.array_equal(frame_rgb, expected_rgb)
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


def test_data_sets_of_one_name_are_told_apart(tmp_path):
    a, b = own_frames(tmp_path / 'a/own'), own_frames(tmp_path / 'b/own')
    found = [source.read(10_000) for source in find_sources([a, f'{b}=3'], None, SplitRule())]
    assert [(s.name, s.share) for s in found] == [('own', 4), ('own_1', 3.0)]


def test_folder_with_an_equals_sign_in_its_name_has_no_share(tmp_path):
    root = own_frames(tmp_path / 'date=2024')
    assert split_share(root) == (root, None)
    assert split_share(f'{root}=0.5') == (root, 0.5)


def test_data_set_named_like_the_rendered_scenes_is_told_apart_from_them(tmp_path):
    root = own_frames(tmp_path / 'rendered')
    found = find_sources([root], '4', SplitRule())
    assert [source.name for source in found] == ['rendered_1', 'rendered']


def test_data_set_with_nothing_left_to_train_on_is_named(tmp_path):
    root = own_frames(tmp_path / 'own')
    with pytest.raises(DatasetError, match='own has no training frames left; hold out fewer'):
        find_sources([root], None, SplitRule(fold=(1, 1)))


@pytest.mark.parametrize('count', ['many', '0', '-4'])
def test_invalid_count_of_rendered_frames_is_refused(count):
    with pytest.raises(
        DatasetError, match=f"--rendered '{count}' is not a number of frames; use at least 1"
    ):
        find_sources([], count, SplitRule())


def test_sources_are_drawn_by_their_shares():
    def source(name, count, value, share):
        sample = (np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.uint8))
        return Source(name, RoadFrames([sample] * count), RoadFrames([]), share)

    both = [source('many', 90, 0, 1.0), source('few', 10, 255, 3.0)]
    loader = train_loader(both, batch=10, steps=100, seed=0)
    drawn = [frame[0, 0, 0].item() for frames, _ in loader for frame in frames]
    assert len(drawn) == 1000
    assert np.mean(np.array(drawn) == 255) == pytest.approx(0.75, abs=0.05)


def test_draws_follow_from_seed_rank_and_epoch_alone():
    sample = (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    source = [Source('a', RoadFrames([sample] * 50), RoadFrames([]), 1.0)]

    def drawn(seed, rank, epoch):
        sampler = ShareSampler(source, 20, seed, rank)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn(1, 0, 2) == drawn(1, 0, 2)
    others = [drawn(1, 0, 2), drawn(2, 0, 2), drawn(1, 1, 2), drawn(1, 0, 3)]
    assert len({tuple(numbers) for numbers in others}) == 4


def test_road_frames_are_channel_first_uint8_tensors():
    frame_rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frame, label = RoadFrames([(frame_rgb, np.zeros((2, 4), np.uint8))])[0]
    assert frame.dtype == label.dtype == torch.uint8
    assert frame.shape == (3, 2, 4)
    assert frame[:, 1, 2].tolist() == frame_rgb[1, 2].tolist()
