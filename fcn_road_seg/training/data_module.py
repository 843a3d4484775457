"""What a training draws from: data sets on disk and rendered scenes, each with its share."""

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
from fcn_road_seg.datasets.splits import SplitRule, find_frames


class RoadFrames(Dataset[tuple[Tensor, Tensor]]):
    """Labelled frames held in memory, as tensors: ([3, H, W] uint8 RGB, [H, W] uint8 label).

    `samples` are pairs as `LabelledFrame.load` returns them. Memory is 4 bytes a pixel; in
    return every file has been read and checked before a training starts.
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
    """A data set to train on, and how often it is drawn: its share of the samples."""

    name: str
    train: RoadFrames
    val: RoadFrames
    share: float


class ShareSampler(Sampler[int]):
    """Draws frames of `sources` by their shares, with replacement, `count` an epoch.

    What an epoch draws follows from `seed`, the process's `rank` and the epoch alone, so that a
    resumed training sees what an uninterrupted one would have seen.
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
        """Choose the epoch that the next iteration draws; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        generator = seeded(self._seed, self._rank, self._epoch)
        drawn = torch.multinomial(self._weights, self._count, True, generator=generator)
        return iter(drawn.tolist())


def seeded(*numbers: int) -> torch.Generator:
    """Return a CPU generator whose state follows from all `numbers`."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed)


def train_loader(
    sources: Sequence[Source], batch: int, steps: int, seed: int, rank: int = 0
) -> DataLoader[object]:
    """Draw `steps` batches an epoch, each source by its share."""
    return DataLoader(
        ConcatDataset([source.train for source in sources]),
        batch_size=batch,
        sampler=ShareSampler(sources, batch * steps, seed, rank),
        collate_fn=collate,
    )


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Keep frames of different sizes apart; the augmentation makes them one batch."""
    return [frame for frame, _ in samples], [label for _, label in samples]


def load_sources(
    data: Iterable[str], rendered: str | None, rule: SplitRule, max_pixels: int
) -> list[Source]:
    """Read all data sets `data` (DIR or DIR=SHARE) and scenes `rendered` (COUNT or COUNT=SHARE).

    Training frames are held at `max_pixels` at most, validation frames at their own size.

    Raises:
        DatasetError: the first thing wrong with the data, naming the file.
        ValueError: the split rule cannot be had.
    """
    found: list[tuple[str, float | None, Iterator[Sample], Iterator[Sample]]] = []
    for item in data:
        root, share = split_share(item)
        name = Path(root).resolve().name
        # Figures are told apart by these names.
        name += f'_{len(found)}' if any(name == other for other, *_ in found) else ''
        train, val = (find_frames(root, split, rule) for split in ('train', 'val'))
        if not train:
            raise DatasetError(f'{root} has no frame left to train on; hold fewer back')
        found.append(
            (name, share, load_frames(train, f'{name} train'), load_frames(val, f'{name} val'))
        )
    if rendered:
        count, share = split_share(rendered)
        if not count.isdecimal() or not int(count):
            raise DatasetError(f'--rendered {count!r} is not a number of frames')
        train_scenes = rendered_frames(int(count), 0, 'rendered train')
        val_scenes = rendered_frames(RENDERED_VAL_COUNT, RENDERED_VAL_SEED, 'rendered val')
        found.append(('rendered', share, train_scenes, val_scenes))
    sources = []
    for name, share, train_samples, val_samples in found:
        train_frames = RoadFrames(limit_size(*sample, max_pixels) for sample in train_samples)
        sources.append(
            Source(name, train_frames, RoadFrames(val_samples), share or len(train_frames))
        )
    if not sources:
        raise DatasetError('nothing to train on; give --data DIR or --rendered COUNT')
    return sources


def load_frames(frames: Sequence[LabelledFrame], text: str) -> Iterator[Sample]:
    """Read and check all `frames`, with a progress bar named `text`."""
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(LabelledFrame.load, frames)
        yield from tqdm(loaded, desc=text, total=len(frames), unit='frame')


def split_share(item: str) -> tuple[str, float | None]:
    """Return ('DIR', 0.5) for 'DIR=0.5' and ('DIR', None) for 'DIR'.

    Raises:
        DatasetError: the share is not a positive number.
    """
    name, sign, share = item.rpartition('=')
    if not sign:
        return item, None
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DatasetError(f'share {share!r} in {item!r} is not a positive number')
    return name, value


class RoadData(lightning.LightningDataModule):
    """Batches of `sources` by their shares, `steps_an_epoch` an epoch, and their val frames."""

    def __init__(
        self, sources: Sequence[Source], batch: int, steps_an_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.sources = sources
        self.batch = batch
        self.steps_an_epoch = steps_an_epoch
        self.seed = seed

    def train_dataloader(self) -> DataLoader[object]:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return train_loader(self.sources, self.batch, self.steps_an_epoch, self.seed, rank)

    def val_dataloader(self) -> list[DataLoader[object]]:
        # Each process takes its part; the metrics add up what all of them counted.
        rank, world = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        parts = [
            Subset(source.val, range(rank, len(source.val), world))
            for source in self.sources
            if len(source.val)
        ]
        return [DataLoader(part, batch_size=1, collate_fn=collate) for part in parts]
