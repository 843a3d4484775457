"""Labelled frames as tensors, decoded once and then read from the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fcn_road_seg.datasets.frames import DatasetError, limit_size
from fcn_road_seg.datasets.labels import ROAD
from fcn_road_seg.datasets.rendered import RENDERED_FRAMES_A_DRIVE, Sample
from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.frame_cache import FrameCache, frame_key


class Frame(Protocol):
    """A frame that is read or rendered on demand."""

    def load(self) -> Sample:
        """Return (frame_rgb (H, W, 3) uint8, label (H, W) uint8 of BACKGROUND, ROAD, VOID)."""

    def version(self) -> tuple[object, ...]:
        """Return what the result of `load` depends on, apart from the code (see `frame_key`)."""


class RoadFrames(Dataset[tuple[Tensor, Tensor]]):
    """Frames as tensors: ([3, H, W] uint8 RGB, [H, W] uint8 label); none is kept in memory.

    Each is reduced to at most about `max_pixels` pixels, unless that is None. It is read from
    `cache`, or decoded and then stored there.

    Raises:
        DatasetError: a file is gone.
    """

    def __init__(
        self, frames: Sequence[Frame], cache: FrameCache, max_pixels: int | None = None
    ) -> None:
        self._frames = frames
        self._cache = cache
        self._max_pixels = max_pixels
        self._keys = [frame_key((frame.version(), max_pixels)) for frame in frames]
        self.decoded = 0

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        frame_rgb, label = self._cache.load(self._keys[index]) or self._decode(index)
        return torch.from_numpy(frame_rgb).permute(2, 0, 1), torch.from_numpy(label)

    def missing(self) -> list[int]:
        """Return the indices of the frames not in the cache; the others are kept in it."""
        return [index for index, key in enumerate(self._keys) if not self._cache.use(key)]

    def has_road(self) -> bool:
        """Return whether any frame has road; usually the first one has, and is the only one read.

        Raises:
            DatasetError: a frame cannot be read.
        """
        return any(bool((self[index][1] == ROAD).any()) for index in range(len(self)))

    def decode_missing(self, text: str, workers: int, begin: float = 0.0) -> None:
        """Decode the frames that the cache lacks, with a progress bar labelled `text`.

        `workers` processes do this, or this process if `workers` is 0. Training processes that
        begin at different places, `begin` in [0, 1), share the work. Afterwards every frame has
        been read, and so checked, once, by this run or another. `decoded` is then the number of
        frames that the cache lacked.

        Raises:
            DatasetError: the first error in the data; the message names the file.
        """
        missing = self.missing()
        first = int(begin * len(missing))
        # The frames of a drive go to one process, as setting up the drive takes longest.
        loader = DataLoader(
            _Decoded(self),
            batch_size=RENDERED_FRAMES_A_DRIVE,
            sampler=missing[first:] + missing[:first],
            collate_fn=list,
            **reader_processes(min(workers, len(missing))),
        )
        with tqdm(desc=text, total=len(missing), unit='frame', disable=not missing) as progress:
            for errors in loader:
                for error in errors:
                    if error:
                        raise DatasetError(error)
                    progress.update()
        self.decoded = len(missing)

    def _decode(self, index: int) -> Sample:
        sample = self._frames[index].load()
        if self._max_pixels is not None:
            sample = limit_size(*sample, self._max_pixels)
        self._cache.store(self._keys[index], sample)
        return sample


class _Decoded(Dataset[str]):
    """Decodes a frame unless another process already has; an item is the error text, or ''."""

    def __init__(self, frames: RoadFrames) -> None:
        self._frames = frames

    def __getitem__(self, index: int) -> str:
        try:
            self._frames[index]
        except DatasetError as error:
            # The text of an exception from a worker process would be its traceback.
            return str(error)
        return ''


def reader_processes(count: int) -> dict[str, Any]:
    """Return the options of a DataLoader whose frames are read by `count` processes; 0 is none."""
    # Python 3.14 would not fork them: each would import PyTorch and get a copy of all paths.
    return {'num_workers': count, 'multiprocessing_context': 'fork' if count else None}


@contextmanager
def frame_readers() -> Iterator[None]:
    """Prepare this process for workers that read its frames; report in one line if one is killed.

    Raises:
        TrainingError: one was killed, for example because memory ran out.
        KeyboardInterrupt: a signal ended them and this process.
    """
    # A process forked while OpenCV's thread pool exists can wait for those threads forever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith('DataLoader worker'):
            raise
        if _follows_an_interrupt(error):
            # The signal that ended the training went to all processes.
            raise KeyboardInterrupt from error
        raise TrainingError(f'{error}; give a smaller number of --workers, or 0') from error
    finally:
        cv2.setNumThreads(threads)


def _follows_an_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
