import os
import signal

import numpy as np
import pytest
import torch

from fcn_road_seg.datasets.frames import DatasetError, limit_size
from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.frame_cache import FrameCache
from fcn_road_seg.training.road_frames import RoadFrames, frame_readers
from test.helpers.labelled_frames import MadeFrame, made_frame


@pytest.fixture
def cache(tmp_path):
    return FrameCache(tmp_path, max_bytes=10**6)


def random_frame(hw=(40, 60)):
    return MadeFrame(np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8))


def test_frames_are_channel_first_uint8_tensors(cache):
    frame_rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    frame, label = RoadFrames([MadeFrame(frame_rgb)], cache)[0]
    assert frame.dtype == label.dtype == torch.uint8
    assert frame.shape == (3, 2, 4)
    assert frame[:, 1, 2].tolist() == frame_rgb[1, 2].tolist()


def test_frame_is_decoded_once_and_then_comes_from_the_cache(cache):
    made = random_frame()
    first, again = (RoadFrames([made], cache)[0][0] for _ in range(2))
    assert made.loads == 1
    assert torch.equal(first, again)
    assert np.array_equal(again.permute(1, 2, 0), made.pixels)


def test_frame_is_reduced_before_it_is_kept(cache):
    made = random_frame()
    for _ in range(2):
        frame, label = RoadFrames([made], cache, max_pixels=600)[0]
        assert label.shape == (20, 30)
        reduced, _ = limit_size(made.pixels, np.zeros((40, 60), np.uint8), 600)
        assert np.array_equal(frame.permute(1, 2, 0), reduced)


def test_frame_of_another_size_is_another_one_in_the_cache(cache):
    made = random_frame()
    sizes = [RoadFrames([made], cache, n)[0][1].numel() for n in (600, 150, None, 600)]
    assert sizes == [600, 150, 2400, 600]
    assert made.loads == 3


@pytest.mark.parametrize('workers', [0, 2])
def test_missing_frames_are_decoded_by_as_many_processes_as_are_asked_for(cache, workers):
    made = [made_frame(value) for value in range(10)]
    frames = RoadFrames(made, cache)
    assert frames.missing() == list(range(10))
    frames.decode_missing('test', workers)
    assert frames.missing() == []
    assert frames.decoded == 10
    assert sum(frame.loads for frame in made) == (0 if workers else 10)


def test_trainings_that_begin_at_different_places_read_different_frames_first(cache):
    order = []

    class Told(MadeFrame):
        def load(self):
            order.append(int(self.pixels[0, 0, 0]))
            return super().load()

    frames = RoadFrames([Told(made_frame(value).pixels) for value in range(8)], cache)
    frames.decode_missing('test', workers=0, begin=0.5)
    assert order == [4, 5, 6, 7, 0, 1, 2, 3]


@pytest.mark.parametrize('workers', [0, 2])
def test_first_error_is_told_as_it_was_raised(cache, workers):
    class Bad(MadeFrame):
        def load(self):
            raise DatasetError('b.png cannot be read')

    frames = RoadFrames([made_frame(1), Bad(np.zeros(1)), made_frame(2)], cache)
    with pytest.raises(DatasetError, match=r'^b\.png cannot be read$'):
        frames.decode_missing('test', workers)


def test_killed_reader_ends_the_training_with_one_line(cache):
    class Deadly(MadeFrame):
        def load(self):
            os.kill(os.getpid(), signal.SIGKILL)

    frames = RoadFrames([Deadly(np.zeros(1))], cache)
    with (
        pytest.raises(
            TrainingError, match=r'DataLoader worker .*; give a smaller number of --workers, or 0'
        ),
        frame_readers(),
    ):
        frames.decode_missing('test', workers=1)


def test_readers_killed_by_the_signal_that_ends_the_training_are_no_error_of_their_own(cache):
    class Deadly(MadeFrame):
        def load(self):
            os.kill(os.getpid(), signal.SIGTERM)

    frames = RoadFrames([Deadly(np.zeros(1))], cache)

    def end():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            frames.decode_missing('test', workers=1)

    with pytest.raises(KeyboardInterrupt), frame_readers():
        end()
