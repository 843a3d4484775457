"""What a training draws from: data sets on disk and rendered scenes, each with its share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Sampler
from tqdm import tqdm

from fcn_road_seg.datasets import (
    DatasetError,
    LabelledFrame,
    RoadFrames,
    SplitRule,
    find_frames,
    reduced,
)
from fcn_road_seg.synthetic import SyntheticDrive

Sample = tuple[np.ndarray, np.ndarray]

RENDERED_SIZES_HW = ((375, 1242), (360, 480), (240, 320), (288, 512))
RENDERED_FRAMES_A_DRIVE = 4
# Far enough apart for other surroundings: 8 m/s or more.
RENDERED_SPACING_S = 7.0
# Seeds far from those that training draws: rendered validation scenes are unseen ones.
RENDERED_VAL_SEED = 1_000_000
RENDERED_VAL_COUNT = 60


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
        train_frames = RoadFrames(reduced(*sample, max_pixels) for sample in train_samples)
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


def rendered_frames(count: int, first_seed: int, text: str) -> Iterator[Sample]:
    """Render `count` frames at cameras' sizes; a drive, seeds `first_seed` and up, gives four.

    Setting up a drive costs as much as rendering ten of its frames.
    """
    for index in tqdm(range(count), desc=text, unit='frame'):
        number, step = divmod(index, RENDERED_FRAMES_A_DRIVE)
        if step == 0:
            size_hw = RENDERED_SIZES_HW[number % len(RENDERED_SIZES_HW)]
            drive = SyntheticDrive(first_seed + number, size_hw)
        frame_bgr, label = drive.render(t_s=step * RENDERED_SPACING_S)
        yield np.ascontiguousarray(frame_bgr[..., ::-1]), label


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


def add_split_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that say which frames validate, the same for trainer and evaluation."""
    rule = SplitRule()
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=rule.val_fraction,
        help='tail of each category that validates, where a data set has no split of its own',
    )
    parser.add_argument(
        '--fold',
        metavar='K/N',
        help='instead of the tail, the K-th of N contiguous blocks of each category',
    )
    parser.add_argument(
        '--hold-out',
        nargs='+',
        default=rule.hold_out,
        metavar='PREFIX',
        help='in data sets with frames whose name begins so (a drive), these alone validate',
    )


def split_rule(args: argparse.Namespace) -> SplitRule:
    """Return the rule that the arguments of `add_split_arguments` ask for.

    Raises:
        ValueError: a value that is none.
    """
    fold = None
    if args.fold is not None:
        k, _, n = args.fold.partition('/')
        if not (k.isdecimal() and n.isdecimal()):
            raise ValueError(f'--fold {args.fold!r} is not K/N; say 1/5 for the first of five')
        fold = int(k), int(n)
    return SplitRule(args.val_fraction, fold, tuple(args.hold_out))
