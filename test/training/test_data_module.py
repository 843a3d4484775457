import os
import time

import numpy as np
import pytest

from fcn_road_seg.training.frame_cache import FrameCache
from fcn_road_seg.training.road_frames import RoadFrames
from fcn_road_seg.training.sources import Source
from test.helpers.labelled_frames import MadeFrame, made_frame

pytest.importorskip('lightning', reason='lightning is not installed')

from fcn_road_seg.training.data_module import ShareSampler, train_loader


@pytest.fixture
def cache(tmp_path):
    return FrameCache(tmp_path, max_bytes=10**6)


def source(name, frames, cache, share=1.0):
    return Source(name, RoadFrames(frames, cache), RoadFrames([], cache), share)


def test_sources_are_drawn_by_their_shares(cache):
    both = [
        source('many', [made_frame(0)] * 90, cache, share=1.0),
        source('few', [made_frame(255)] * 10, cache, share=3.0),
    ]
    loader = train_loader(both, batch=10, steps=100, seed=0)
    drawn = [frame[0, 0, 0].item() for frames, _ in loader for frame in frames]
    assert len(drawn) == 1000
    assert np.mean(np.array(drawn) == 255) == pytest.approx(0.75, abs=0.05)


def test_draws_follow_from_seed_rank_and_epoch_alone(cache):
    sources = [source('a', [made_frame(0)] * 50, cache)]

    def drawn(seed, rank, epoch):
        sampler = ShareSampler(sources, 20, seed, rank)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn(1, 0, 2) == drawn(1, 0, 2)
    others = [drawn(1, 0, 2), drawn(2, 0, 2), drawn(1, 1, 2), drawn(1, 0, 3)]
    assert len({tuple(numbers) for numbers in others}) == 4


def test_batches_do_not_depend_on_the_number_of_processes_that_read_them(cache):
    sources = [source('a', [made_frame(value) for value in range(9)], cache)]

    def drawn(workers):
        loader = train_loader(sources, batch=3, steps=7, seed=5, workers=workers)
        return [[frame[0, 0, 0].item() for frame in frames] for frames, _ in loader]

    assert drawn(0) == drawn(1) == drawn(3)


def test_frames_keep_their_layout_in_memory_from_another_process(cache):
    # The augmentation's sums are those of an uncached training only if the layout is the same.
    sources = [source('a', [MadeFrame(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))], cache)]
    ((frames, _),) = train_loader(sources, batch=1, steps=1, seed=0, workers=1)
    assert frames[0].shape == (3, 3, 4)
    assert frames[0].stride() == (1, 12, 3)
    assert frames[0][:, 1, 2].tolist() == [18, 19, 20]


def test_frames_of_a_batch_keep_their_own_sizes(cache):
    made = [made_frame(value, hw) for value, hw in enumerate([(3, 5), (8, 2), (1, 1)])]
    sources = [source('a', made, cache)]
    ((frames, labels),) = train_loader(sources, batch=30, steps=1, seed=0, workers=1)
    assert len(frames) == len(labels) == 30
    for frame, label in zip(frames, labels, strict=True):
        hw = made[int(frame[0, 0, 0])].pixels.shape[:2]
        assert tuple(frame.shape) == (3, *hw)
        assert tuple(label.shape) == hw


def test_batch_takes_few_file_descriptors_however_many_frames_it_has(cache):
    sources = [source('a', [made_frame(0)], cache)]
    batches = iter(train_loader(sources, batch=200, steps=4, seed=0, workers=1))
    held = [next(batches)]
    before = len(os.listdir('/proc/self/fd'))
    held.append(next(batches))
    assert len(os.listdir('/proc/self/fd')) - before < 10
    assert len(held[1][0]) == 200


def test_time_that_the_consumer_waits_is_measured_and_its_own_is_not(cache):
    class SlowFrame(MadeFrame):
        def load(self):
            time.sleep(0.02)
            return super().load()

    uncached = FrameCache(cache.folder, max_bytes=0)
    loader = train_loader([source('a', [SlowFrame(np.zeros((4, 4, 3)))], uncached)], 2, 3, seed=0)
    for _ in loader:
        time.sleep(0.2)
    assert 3 * 2 * 0.02 <= loader.waited_s < 0.4


def test_error_in_a_file_while_it_is_drawn_is_raised_where_batches_are_used(cache):
    class LostFrame(MadeFrame):
        def load(self):
            raise ValueError('a.png is gone')

    loader = train_loader([source('a', [LostFrame(np.zeros(4))], cache)], 1, 1, 0, workers=1)
    with pytest.raises(ValueError, match=r'a\.png is gone'):
        list(loader)
