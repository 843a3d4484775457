"""Training and validation batches from data sets on disk and rendered scenes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset

from fcn_road_seg.training.road_frames import reader_processes
from fcn_road_seg.training.sources import Source


class ShareSampler(Sampler[int]):
    """Draws `count` frames per epoch, with replacement, from `sources` according to their shares.

    The draws depend only on `seed`, the process's `rank` and the epoch, so that a resumed run sees
    the same frames as an uninterrupted one.
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


# A batch: frames and labels, which differ in size until the augmentation crops them.
Batch = tuple[list[Tensor], list[Tensor]]


class FrameLoader(DataLoader[object]):
    """A loader whose batches are lists of frames and of labels, as `RoadFrames` returns them.

    `waited_s` is the time, in seconds, for which its consumer has waited for batches.
    """

    waited_s = 0.0

    def __init__(self, dataset: Dataset[tuple[Tensor, Tensor]], **options: Any) -> None:
        super().__init__(dataset, collate_fn=_pack, **options)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        asked_s = time.monotonic()
        for packed in super().__iter__():
            batch = _unpack(*packed)
            self.waited_s += time.monotonic() - asked_s
            yield batch
            asked_s = time.monotonic()


def _pack(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[torch.Size]]:
    """Return the bytes of all frames and labels in one tensor, and the labels' sizes.

    Each tensor sent between processes takes a file descriptor, and a process may have only 1024.
    """
    parts = [part.ravel() for frame, label in samples for part in (frame.permute(1, 2, 0), label)]
    return torch.cat(parts), [label.shape for _, label in samples]


def _unpack(data: Tensor, sizes_hw: list[torch.Size]) -> Batch:
    frames, labels = [], []
    for h, w in sizes_hw:
        frame, label, data = data.split([3 * h * w, h * w, len(data) - 4 * h * w])
        frames.append(frame.view(h, w, 3).permute(2, 0, 1))
        labels.append(label.view(h, w))
    return frames, labels


def train_loader(
    sources: Sequence[Source], batch: int, steps: int, seed: int, rank: int = 0, workers: int = 0
) -> FrameLoader:
    """Return a loader of `steps` batches per epoch, in which each source has its share.

    The batches do not depend on `workers`, the number of processes that read frames.
    """
    return FrameLoader(
        ConcatDataset([source.train for source in sources]),
        batch_size=batch,
        sampler=ShareSampler(sources, batch * steps, seed, rank),
        persistent_workers=workers > 0,
        **reader_processes(workers),
    )


class RoadData(lightning.LightningDataModule):
    """Training batches from `sources` according to their shares, and their validation frames.

    An epoch has `steps_per_epoch` batches of `batch` frames, which `workers` processes read.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        batch: int,
        steps_per_epoch: int,
        seed: int,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.sources = sources
        self.batch = batch
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.workers = workers

    def train_dataloader(self) -> FrameLoader:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return train_loader(
            self.sources, self.batch, self.steps_per_epoch, self.seed, rank, self.workers
        )

    def val_dataloader(self) -> list[FrameLoader]:
        # Each process validates a part; the metrics sum the counts of all processes.
        rank, world = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        parts = [
            Subset(source.val, range(rank, len(source.val), world))
            for source in self.sources
            if len(source.val)
        ]
        return [
            FrameLoader(part, batch_size=1, **reader_processes(min(self.workers, len(part))))
            for part in parts
        ]
