"""Finds and reads the data sets and rendered scenes of a training run, with their shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.rendered import (
    RENDERED_VAL_COUNT,
    RENDERED_VAL_SEED,
    find_rendered_frames,
)
from fcn_road_seg.datasets.splits import (
    RENDERED_NAME,
    SplitRule,
    find_frames,
    name_data_sets,
    refuse_unknown_hold_outs,
)
from fcn_road_seg.training.frame_cache import FrameCache
from fcn_road_seg.training.road_frames import Frame, RoadFrames


@dataclass(frozen=True)
class Source:
    """A data set to train on; `share` > 0 is how often it is drawn, relative to the others."""

    name: str
    train: RoadFrames
    val: RoadFrames
    share: float


@dataclass(frozen=True)
class FoundSource:
    """A data set before its files are read."""

    name: str
    share: float | None
    train: Sequence[Frame]
    val: Sequence[Frame]

    def few(self) -> FoundSource:
        """Return this data set with only a few of its frames, but the same share."""
        share = self.share or len(self.train)
        return FoundSource(self.name, share, self.train[:8], self.val[:2])

    def read(self, cache: FrameCache, max_pixels: int, workers: int, begin: float = 0.0) -> Source:
        """Decode the frames that `cache` lacks (`workers`, `begin`: see `decode_missing`).

        Training frames are reduced to at most `max_pixels`; validation frames keep their size.
        The share, if none was given, is the number of training frames.

        Raises:
            DatasetError: the first error in the data; the message names the file.
        """
        train, val = RoadFrames(self.train, cache, max_pixels), RoadFrames(self.val, cache)
        train.decode_missing(f'{self.name} train', workers, begin)
        val.decode_missing(f'{self.name} val', workers, begin)
        return Source(self.name, train, val, self.share or len(train))


def find_sources(data: Iterable[str], rendered: str | None, rule: SplitRule) -> list[FoundSource]:
    """Find the data sets `data` (DIR or DIR=SHARE) and scenes `rendered` (COUNT or COUNT=SHARE).

    Raises:
        DatasetError: a data set, a share or the number of scenes is invalid.
    """
    shares = [split_share(item) for item in data]
    found = []
    # The metrics are keyed by these names.
    names = name_data_sets(root for root, _ in shares)
    refuse_unknown_hold_outs((root for root, _ in shares), rule)
    for name, (root, share) in zip(names, shares, strict=True):
        train, val = (find_frames(root, split, rule) for split in ('train', 'val'))
        if not train:
            raise DatasetError(f'{root} has no training frames left; hold out fewer frames')
        found.append(FoundSource(name, share, train, val))
    if rendered:
        count, share = split_share(rendered)
        if not count.isdecimal() or not int(count):
            raise DatasetError(f'--rendered {count!r} is not a number of frames; use at least 1')
        train_scenes = find_rendered_frames(int(count), 0)
        val_scenes = find_rendered_frames(RENDERED_VAL_COUNT, RENDERED_VAL_SEED)
        found.append(FoundSource(RENDERED_NAME, share, train_scenes, val_scenes))
    if not found:
        raise DatasetError('nothing to train on; give --data DIR or --rendered COUNT')
    return found


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


def refuse_validation_without_road(sources: Iterable[Source]) -> None:
    """Raise DatasetError if `sources` have validation frames, but no road in any of them.

    The IoU of every network would be 0, and the first one would count as the best.
    """
    validating = [source for source in sources if len(source.val)]
    if validating and not any(source.val.has_road() for source in validating):
        names = ', '.join(source.name for source in validating)
        raise DatasetError(
            f'no validation frame of {names} has road, so their IoU would tell nothing; choose '
            'others with --fold or --hold-out, or use none (--val-fraction 0)'
        )


def summarize_reading(sources: Sequence[Source], cache: FrameCache, seconds: float) -> list[str]:
    """Return lines for the user: how fast the frames of `sources` were read, and what is kept."""
    parts = [frames for source in sources for frames in (source.train, source.val)]
    decoded = sum(frames.decoded for frames in parts)
    speed = f', {decoded} of them decoded at {decoded / seconds:.0f} frames/s' if decoded else ''
    lines = [f'{sum(map(len, parts))} frames{speed}']
    if cache.is_used:
        used_gb, max_gb = cache.used_bytes() / 1e9, cache.max_bytes / 1e9
        lines.append(f'cache {cache.folder}: {used_gb:.2f} of at most {max_gb:g} GB')
        if missing := sum(len(frames.missing()) for frames in parts):
            lines.append(
                f'{missing} frames are not in the cache and are decoded each time they are used; '
                'raise --cache-size or free some space'
            )
    return lines
