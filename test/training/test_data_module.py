import argparse

import cv2
import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.splits import SplitRule
from fcn_road_seg.training import data_module as sources
from fcn_road_seg.training.data_module import RoadFrames


def own_frames(root, count=5):
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f'{folder}/{i}.png'), np.zeros((32, 48), np.uint8))
    return str(root)


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    sources.add_split_arguments(parser)
    return sources.split_rule(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ('item', 'expected'), [('a/b', ('a/b', None)), ('a=0.5', ('a', 0.5)), ('a=b=2', ('a=b', 2.0))]
)
def test_share_is_what_follows_the_last_equals_sign(item, expected):
    assert sources.split_share(item) == expected


@pytest.mark.parametrize('item', ['a=', 'a=x', 'a=0', 'a=-1', 'a=nan', 'a=inf'])
def test_share_that_is_no_positive_number_is_refused(item):
    with pytest.raises(DatasetError, match='is not a positive number'):
        sources.split_share(item)


def test_data_sets_of_one_name_are_told_apart(tmp_path):
    a, b = own_frames(tmp_path / 'a/own'), own_frames(tmp_path / 'b/own')
    found = sources.load_sources([a, f'{b}=3'], None, SplitRule(), 10_000)
    assert [(s.name, s.share) for s in found] == [('own', 4), ('own_1', 3.0)]


def test_data_set_with_nothing_left_to_train_on_is_named(tmp_path):
    root = own_frames(tmp_path / 'own')
    with pytest.raises(DatasetError, match='own has no frame left to train on; hold fewer back'):
        sources.load_sources([root], None, SplitRule(fold=(1, 1)), 10_000)


@pytest.mark.parametrize('count', ['many', '0', '-4'])
def test_count_of_rendered_frames_that_is_none_is_refused(count):
    with pytest.raises(DatasetError, match=f"--rendered '{count}' is not a number of frames"):
        sources.load_sources([], count, SplitRule(), 10_000)


def test_sources_are_drawn_by_their_shares():
    def source(name, count, value, share):
        sample = (np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.uint8))
        return sources.Source(name, RoadFrames([sample] * count), RoadFrames([]), share)

    both = [source('many', 90, 0, 1.0), source('few', 10, 255, 3.0)]
    loader = sources.train_loader(both, batch=10, steps=100, seed=0)
    drawn = [frame[0, 0, 0].item() for frames, _ in loader for frame in frames]
    assert len(drawn) == 1000
    assert np.mean(np.array(drawn) == 255) == pytest.approx(0.75, abs=0.05)


def test_draws_follow_from_seed_rank_and_epoch_alone():
    sample = (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    source = [sources.Source('a', RoadFrames([sample] * 50), RoadFrames([]), 1.0)]

    def drawn(seed, rank, epoch):
        sampler = sources.ShareSampler(source, 20, seed, rank)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn(1, 0, 2) == drawn(1, 0, 2)
    others = [drawn(1, 0, 2), drawn(2, 0, 2), drawn(1, 1, 2), drawn(1, 0, 3)]
    assert len({tuple(numbers) for numbers in others}) == 4


def test_arguments_become_a_split_rule():
    assert parsed() == SplitRule()
    expected = SplitRule(val_fraction=0.5, fold=(2, 5), hold_out=('a', 'b'))
    assert parsed('--val-fraction=0.5', '--fold=2/5', '--hold-out', 'a', 'b') == expected


@pytest.mark.parametrize('fold', ['2', '2/', 'a/b', '-1/5'])
def test_fold_that_is_none_is_refused(fold):
    with pytest.raises(ValueError, match=r'is not K/N; give, for example, 1/5 for the first of five'):
        parsed(f'--fold={fold}')


def test_rendered_frames_are_rgb_and_change_with_the_seed():
    frames = [frame for frame, _ in sources.rendered_frames(5, 7, 'test')]
    again = [frame for frame, _ in sources.rendered_frames(1, 7, 'test')]
    frame_bgr, _ = sources.SyntheticDrive(7, frames[0].shape[:2]).render(t_s=0.0)
    assert np.array_equal(frames[0], frame_bgr[..., ::-1])
    assert np.array_equal(frames[0], again[0])
    assert frames[4].shape != frames[0].shape or not np.array_equal(frames[4], frames[0])
