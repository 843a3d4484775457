"""Many small bags, the jobs to label them, and their contents, for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fcn_road_seg.bags.reader import BagMessage
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.staging import FOLDER
from test.helpers.bag_files import drive_images, messages_of, write_bag


def write_drives(folder: Path, count: int, frames: int = 4) -> list[Path]:
    """Write bags with different frames and return their paths."""
    images = drive_images(20)
    folder.mkdir(exist_ok=True)
    starts = [index % (20 - frames) for index in range(count)]
    return [
        write_bag(folder / f'drive_{index:02}', {'/image': images[start : start + frames]})
        for index, start in enumerate(starts)
    ]


def jobs_of(drives: list[Path], out: Path) -> list[BagJob]:
    return [BagJob(drive, out / drive.name) for drive in drives]


def contents(out: Path) -> Mapping[str, list[BagMessage]]:
    """Return all messages of each bag in a folder, by its name; fail if one is unreadable."""
    return {
        bag.name: messages_of(bag, ['/image', '/fcn_road_seg/mask'])
        for bag in sorted(out.glob('*'))
        if bag.name != FOLDER
    }
