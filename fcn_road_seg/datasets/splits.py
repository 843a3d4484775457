"""Labelled road frames on disk: KITTI road, CamVid, IDD Lite, plain image + mask folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from fcn_road_seg.datasets.camvid import _camvid
from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame
from fcn_road_seg.datasets.idd_lite import _idd_lite
from fcn_road_seg.datasets.image_mask import _plain_folder
from fcn_road_seg.datasets.kitti_road import _kitti_road

SPLITS = ('train', 'val', 'all')


@dataclass(frozen=True)
class SplitRule:
    """Which frames of a data set validate, and so are not trained on.

    Data sets with a split of their own (CamVid, IDD Lite) keep it; of the others the last
    `val_fraction` of each category validates, or with `fold` (k, n) the k-th of n contiguous
    blocks, so that frames which follow one another do not stand on both sides. Of a data set in
    which frames' names begin with one of `hold_out` (a drive), these validate and no others do.

    Raises:
        ValueError: a fraction outside of [0, 1), or a fold that is not one of n.
    """

    val_fraction: float = 0.2
    fold: tuple[int, int] | None = None
    hold_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f'val_fraction {self.val_fraction} is not in [0, 1)')
        if self.fold is not None and not 1 <= self.fold[0] <= self.fold[1]:
            raise ValueError(f'fold {self.fold[0]}/{self.fold[1]} is none; say 1/5 to 5/5')

    def is_val(self, index: int, count: int) -> bool:
        """Return whether the `index`-th of a category's `count` frames validates."""
        if self.fold is None:
            return index >= count - round(count * self.val_fraction)
        k, n = self.fold
        return round(count * (k - 1) / n) <= index < round(count * k / n)


def find_frames(
    root: str | Path, split: str, rule: SplitRule = SplitRule()
) -> list[LabelledFrame]:
    """Return the frames of the 'train', 'val' or 'all' split of the data set in `root`.

    The layout tells the data set: `training/image_2` is KITTI road, `trainannot` CamVid,
    `gtFine` IDD Lite, `images` + `masks` a plain folder.

    Raises:
        DatasetError: no known layout, or a frame without its label.
    """
    if split not in SPLITS:
        raise ValueError(f'split {split!r} is unknown; use one of {SPLITS}')
    frames_of = _splits(Path(root), rule)
    if rule.hold_out:
        train, val = frames_of('train'), frames_of('val')
        held_out = [f for f in train + val if f.name.startswith(rule.hold_out)]
        if held_out:
            train = [f for f in train if not f.name.startswith(rule.hold_out)]
            return {'train': train, 'val': held_out, 'all': train + held_out}[split]
    return frames_of(split) if split != 'all' else frames_of('train') + frames_of('val')


def _splits(root: Path, rule: SplitRule) -> Callable[[str], list[LabelledFrame]]:
    if (root / 'training' / 'image_2').is_dir():
        return partial(_by_rule, _kitti_road(root / 'training'), rule)
    if (root / 'trainannot').is_dir() or (root / 'valannot').is_dir():
        return partial(_camvid, root)
    if (root / 'gtFine').is_dir():
        return partial(_idd_lite, root)
    if (root / 'images').is_dir() and (root / 'masks').is_dir():
        return partial(_by_rule, _plain_folder(root), rule)
    raise DatasetError(
        f'{root} is no known data set; it needs training/image_2 (KITTI road), trainannot '
        '(CamVid), gtFine (IDD Lite) or images and masks'
    )


def _by_rule(frames: list[LabelledFrame], rule: SplitRule, split: str) -> list[LabelledFrame]:
    chosen: list[LabelledFrame] = []
    for _, group in groupby(frames, key=lambda frame: frame.category):
        members = list(group)
        for index, frame in enumerate(members):
            if rule.is_val(index, len(members)) == (split == 'val'):
                chosen.append(frame)
    return chosen
