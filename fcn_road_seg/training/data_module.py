"""Training and validation batches from data sets on disk and rendered scenes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset
from tqdm import tqdm

from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame, limit_size
from fcn_road_seg.datasets.rendered import (
    RENDERED_VAL_COUNT,
    RENDERED_VAL_SEED,
    Sample,
    rendered_frames,
)
from fcn_road_seg.datasets.splits import RENDERED_NAME, SplitRule, find_frames, name_data_sets


class RoadFrames(Dataset[tuple[Tensor, Tensor]]):
    """Labelled frames held in memory, as tensors: ([3, H, W] uint8 RGB, [H, W] uint8 label).

    `samples` are pairs as `LabelledFrame.load` returns them. This costs 4 bytes of memory per
    pixel; in return every file is read and checked before the training starts.
    """

    def __init__(self, samples: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        self.samples = [
            (torch.from_numpy(frame_rgb).permute(2, 0, 1), torch.from_numpy(label))
            for frame_rgb, label in samples
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.samples[index]


@dataclass(frozen=True)
class Source:
    """A data set to train on; `share` > 0 is how often it is drawn, relative to the others."""

    name: str
    train: RoadFrames
    val: RoadFrames
    share: float


class ShareSampler(Sampler[int]):
    """Draws `count` frames per epoch from `sources` by their shares, with replacement.

    The draws depend on `seed`, the process's `rank` and the epoch only, so that a resumed
    training sees the same frames as an uninterrupted one.
    """

    def __init__(self, sources: Sequence[Source], count: int, seed: int, rank: int = 0) -> None:
        self._weights = torch.tensor(
            [s.share / len(s.train) for s in sources for _ in range(len(s.train))]
        )
        self._count = count
        self._seed = seed
        self._rank = rank
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration draws; Lightning calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        generator = seeded_generator(self._seed, self._rank, self._epoch)
        drawn = torch.multinomial(self._weights, self._count, True, generator=generator)
        return iter(drawn.tolist())


def seeded_generator(*numbers: int) -> torch.Generator:
    """Return a CPU generator seeded by all `numbers` together."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed)


def train_loader(
    sources: Sequence[Source], batch: int, steps: int, seed: int, rank: int = 0
) -> DataLoader[object]:
    """Return a loader of `steps` batches per epoch, in which each source has its share."""
    return DataLoader(
        ConcatDataset([source.train for source in sources]),
        batch_size=batch,
        sampler=ShareSampler(sources, batch * steps, seed, rank),
        collate_fn=collate,
    )


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Return frames and labels as lists: they differ in size until the augmentation crops them."""
    return [frame for frame, _ in samples], [label for _, label in samples]


@dataclass(frozen=True)
class FoundSource:
    """A data set before its files are read, which can be done once."""

    name: str
    share: float | None
    train: Iterator[Sample]
    val: Iterator[Sample]
    val_count: int

    def read(self, max_pixels: int) -> Source:
        """Read all frames; the share, if none was given, is the number of training frames.

        Training frames are reduced to at most `max_pixels`; validation frames keep their size.

        Raises:
            DatasetError: the first error in the data; the message names the file.
        """
        train = RoadFrames(limit_size(*sample, max_pixels) for sample in self.train)
        return Source(self.name, train, RoadFrames(self.val), self.share or len(train))


def find_sources(data: Iterable[str], rendered: str | None, rule: SplitRule) -> list[FoundSource]:
    """Find all data sets `data` (DIR or DIR=SHARE) and scenes `rendered` (COUNT or COUNT=SHARE).

    Raises:
        DatasetError: a data set, a share or the number of scenes is invalid.
    """
    shares = [split_share(item) for item in data]
    found = []
    # The metrics are keyed by these names.
    names = name_data_sets(root for root, _ in shares)
    for name, (root, share) in zip(names, shares, strict=True):
        train, val = (find_frames(root, split, rule) for split in ('train', 'val'))
        if not train:
            raise DatasetError(f'{root} has no training frames left; hold out fewer')
        train_samples = load_frames(train, f'{name} train')
        val_samples = load_frames(val, f'{name} val')
        found.append(FoundSource(name, share, train_samples, val_samples, len(val)))
    if rendered:
        count, share = split_share(rendered)
        if not count.isdecimal() or not int(count):
            raise DatasetError(f'--rendered {count!r} is not a number of frames; use at least 1')
        train_scenes = rendered_frames(int(count), 0, 'rendered train')
        val_scenes = rendered_frames(RENDERED_VAL_COUNT, RENDERED_VAL_SEED, 'rendered val')
        found.append(
            FoundSource(RENDERED_NAME, share, train_scenes, val_scenes, RENDERED_VAL_COUNT)
        )
    if not found:
        raise DatasetError('nothing to train on; give --data DIR or --rendered COUNT')
    return found


def load_frames(frames: Sequence[LabelledFrame], text: str) -> Iterator[Sample]:
    """Read and check all `frames`, with a progress bar labelled `text`.

    Raises:
        DatasetError: a file is unreadable or its label is invalid; the message names the file.
    """
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(lambda frame: frame.load(), frames)
        yield from tqdm(loaded, desc=text, total=len(frames), unit='frame')


def split_share(item: str) -> tuple[str, float | None]:
    """Return ('DIR', 0.5) for 'DIR=0.5' and ('DIR', None) for 'DIR'.

    An item that is a folder has no share, whatever its name.

    Raises:
        DatasetError: the share is not a positive number.
    """
    name, sign, share = item.rpartition('=')
    if not sign or Path(item).is_dir():
        return item, None
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DatasetError(
            f'share {share!r} in {item!r} is not a positive number; use, for example, DIR=0.5'
        )
    return name, value


class RoadData(lightning.LightningDataModule):
    """Training batches from `sources` by their shares, and their validation frames.

    An epoch has `steps_per_epoch` batches of `batch` frames.
    """

    def __init__(
        self, sources: Sequence[Source], batch: int, steps_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.sources = sources
        self.batch = batch
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed

    def train_dataloader(self) -> DataLoader[object]:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return train_loader(self.sources, self.batch, self.steps_per_epoch, self.seed, rank)

    def val_dataloader(self) -> list[DataLoader[object]]:
        # Each process validates a part; the metrics sum the counts of all processes.
        rank, world = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        parts = [
            Subset(source.val, range(rank, len(source.val), world))
            for source in self.sources
            if len(source.val)
        ]
        return [DataLoader(part, batch_size=1, collate_fn=collate) for part in parts]
