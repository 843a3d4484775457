"""Data sets by their layout on disk, and which of their frames are for validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from fcn_road_seg.datasets.bdd100k import find_bdd100k_frames, is_bdd100k
from fcn_road_seg.datasets.camvid import find_camvid_frames
from fcn_road_seg.datasets.cityscapes import (
    find_cityscapes_frames,
    find_image_pairs,
    find_kitti_semantics_frames,
    is_image_pairs,
)
from fcn_road_seg.datasets.comma10k import find_comma10k_frames
from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame, refuse_shared_labels
from fcn_road_seg.datasets.idd_lite import find_idd_lite_frames
from fcn_road_seg.datasets.image_mask import find_image_mask_frames
from fcn_road_seg.datasets.kitti_road import find_kitti_road_frames
from fcn_road_seg.datasets.label_studio import find_label_studio_frames, is_label_studio
from fcn_road_seg.datasets.voc import find_voc_frames, is_voc

# Returns the frames of a split, 'train' or 'val'.
_Reader = Callable[[str], list[LabelledFrame]]

SPLITS = ('train', 'val', 'all')
# The name of the rendered scenes, used beside the names of data sets.
RENDERED_NAME = 'rendered'
# Short enough to be part of a file name.
MAX_NAME_LENGTH = 60


@dataclass(frozen=True)
class SplitRule:
    """Which frames of a data set are for validation, not for training.

    Data sets with a split of their own (CamVid, IDD Lite, Cityscapes, BDD100K) keep it.
    The validation frames are contiguous, to keep neighbouring frames of a sequence in the same
    split.

    Attributes:
        val_fraction: share of each category, at its end, that is for validation, in [0, 1).
        fold: (k, n): the k-th of n contiguous blocks of each category is for validation instead.
        hold_out: prefixes of frames' names (such as a drive). In a data set with such frames,
            these alone are for validation, and all others are for training, except for the
            validation frames of a split of its own.

    Raises:
        ValueError: the fraction or the fold is out of range.
    """

    val_fraction: float = 0.2
    fold: tuple[int, int] | None = None
    hold_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f'val_fraction {self.val_fraction} is not in [0, 1)')
        if self.fold is not None:
            k, n = self.fold
            if not 1 <= k <= n:
                raise ValueError(f'invalid fold {k}/{n}: K must be between 1 and {n}')

    def is_val(self, index: int, count: int) -> bool:
        """Return whether frame `index` of the `count` frames of a category is for validation."""
        if self.fold is None:
            return index >= count - round(count * self.val_fraction)
        k, n = self.fold
        return round(count * (k - 1) / n) <= index < round(count * k / n)


def find_frames(
    root: str | Path, split: str, rule: SplitRule = SplitRule()
) -> list[LabelledFrame]:
    """Return the frames of the 'train', 'val' or 'all' split of the data set in `root`.

    The layout identifies the data set: `training/image_2` is KITTI road, with `semantic` KITTI's
    semantics; `trainannot` CamVid; `gtFine` Cityscapes or IDD Lite, by the labels' names;
    `labels/drivable` or `labels/sem_seg` BDD100K; `JPEGImages` a VOC export; `label_config.xml`
    Label Studio's labels; `imgs` + `masks` comma10k; `images` + `masks` own frames; numbered pairs
    in `train` Cityscapes image pairs.

    Raises:
        DatasetError: the layout is unknown, a frame has no label, or two frames share one.
        ValueError: the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f'split {split!r} is unknown; use one of {SPLITS}')
    found = _find_frames(Path(root), split, rule)
    refuse_shared_labels(found)
    return found


def refuse_unknown_hold_outs(roots: Iterable[str | Path], rule: SplitRule) -> None:
    """Refuse a prefix in `rule.hold_out` with which no frame's name in any data set begins.

    Raises:
        DatasetError: there is such a prefix, which would hold out nothing, or as `find_frames`.
    """
    if not rule.hold_out:
        return
    names = [frame.name for root in roots for frame in find_frames(root, 'all')]
    for prefix in rule.hold_out:
        if not any(name.startswith(prefix) for name in names):
            seen = f'the first of {len(names)} names is {names[0]!r}' if names else 'give --data'
            raise DatasetError(
                f"no frame's name begins with {prefix!r}, so nothing would be held out; {seen}"
            )


def name_data_sets(roots: Iterable[str | Path]) -> list[str]:
    """Return a printable name for each folder: its last part, with a number if that is taken.

    `RENDERED_NAME` is always taken.
    """
    names = [RENDERED_NAME]
    for root in roots:
        raw = os.fsencode(Path(root).resolve().name).decode(errors='backslashreplace')
        plain = ''.join(c if c.isprintable() else '_' for c in raw)[:MAX_NAME_LENGTH]
        name, number = plain, 0
        while name in names:
            number += 1
            name = f'{plain}_{number}'
        names.append(name)
    return names[1:]


def _find_frames(root: Path, split: str, rule: SplitRule) -> list[LabelledFrame]:
    found = _find_all_or_reader(root)
    frames_of = found if callable(found) else partial(_by_rule, found, rule)
    if split == 'all':
        return frames_of('train') + frames_of('val')
    if rule.hold_out:
        # Without a split of its own, all other frames are for training: those that the tail or the
        # fold would leave out, too, would serve nothing.
        train, val = (found('train'), found('val')) if callable(found) else (found, [])
        held_out = [f for f in train + val if f.name.startswith(rule.hold_out)]
        if held_out:
            train = [f for f in train if not f.name.startswith(rule.hold_out)]
            return train if split == 'train' else held_out
    return frames_of(split)


def _find_all_or_reader(root: Path) -> list[LabelledFrame] | _Reader:
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder; give the folder of a data set')
    found = _known_layout(root)
    if found is not None:
        return found
    parent = root.absolute().parent
    if _is_data_set(parent):
        raise DatasetError(f'{root} is not a known data set, but its parent is; give {parent}')
    raise DatasetError(
        f'{root} is not a known data set; it needs training/image_2 (KITTI road or semantics), '
        'trainannot (CamVid), gtFine (Cityscapes or IDD Lite), labels/drivable or labels/sem_seg '
        '(BDD100K), JPEGImages (VOC), images and label_config.xml (Label Studio), imgs and masks '
        '(comma10k), images and masks, or train with numbered pairs (Cityscapes image pairs)'
    )


def _is_data_set(root: Path) -> bool:
    try:
        return _known_layout(root) is not None
    except DatasetError:
        return False


def _known_layout(root: Path) -> list[LabelledFrame] | _Reader | None:
    """Return all frames or, with a split of its own, its reader; None if the layout is unknown."""
    if (root / 'training' / 'image_2').is_dir():
        has_road = (root / 'training' / 'gt_image_2').is_dir()
        has_semantics = (root / 'training' / 'semantic').is_dir() and not has_road
        find = find_kitti_semantics_frames if has_semantics else find_kitti_road_frames
        return find(root / 'training')
    if (root / 'trainannot').is_dir() or (root / 'valannot').is_dir():
        return partial(find_camvid_frames, root)
    if (root / 'gtFine').is_dir():
        return partial(_gtfine_reader(root), root)
    if is_bdd100k(root):
        return partial(find_bdd100k_frames, root)
    if is_voc(root):
        return find_voc_frames(root)
    if is_label_studio(root):
        return find_label_studio_frames(root)
    if (root / 'masks').is_dir() and (root / 'imgs').is_dir():
        return find_comma10k_frames(root)
    if (root / 'masks').is_dir() and (root / 'images').is_dir():
        return find_image_mask_frames(root)
    if is_image_pairs(root):
        if (root / 'val').is_dir():
            return partial(find_image_pairs, root)
        return find_image_pairs(root, 'train')
    return None


def _gtfine_reader(root: Path) -> Callable[[Path, str], list[LabelledFrame]]:
    """Return the reader of the data set that has a gtFine folder, by its labels' names."""
    labels = {'labelIds.png': find_cityscapes_frames, '_label.png': find_idd_lite_frames}
    for suffix, reader in labels.items():
        if next((root / 'gtFine').glob(f'*/*/*{suffix}'), None):
            return reader
    raise DatasetError(
        f'{root}/gtFine holds neither *_gtFine_labelIds.png (Cityscapes) nor *_label.png '
        '(IDD Lite)'
    )


def _by_rule(frames: list[LabelledFrame], rule: SplitRule, split: str) -> list[LabelledFrame]:
    chosen: list[LabelledFrame] = []
    for _, group in groupby(frames, key=lambda frame: frame.category):
        members = list(group)
        for index, frame in enumerate(members):
            if rule.is_val(index, len(members)) == (split == 'val'):
                chosen.append(frame)
    return chosen
