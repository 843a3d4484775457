"""Finds the bags to segment, and names the bag to write for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from fcn_road_seg.bags.reader import BAG_SUFFIXES, is_bag_folder
from fcn_road_seg.bags.typestore import BagError


@dataclass(frozen=True)
class BagJob:
    """A bag to read, and the folder of the bag to write."""

    source: Path
    out: Path


def is_one_bag(source: Path) -> bool:
    """Return whether `source` is to be read as a bag, and not searched for bags.

    These are read as a bag: a file, a path that does not exist and is not a pattern, and a folder
    for which `is_bag_folder` holds.
    """
    if source.is_dir():
        return is_bag_folder(source)
    return source.exists() or not has_magic(str(source))


def find_bags(sources: Sequence[Path], out: Path) -> list[BagJob]:
    """Return the bags that `sources` name: bags, folders to search, patterns such as `drives/*`.

    They are sorted. In `out`, a bag keeps its name and its path within the folder that was
    searched. `out` itself and hidden files and folders are not searched.

    Raises:
        BagError: a source does not exist, a source or pattern has no bags, or two bags would get
            the same name.
    """
    names: dict[Path, Path] = {}
    for source in sources:
        matches = [source]
        if not source.exists():
            if not has_magic(str(source)):
                raise BagError(f'{source} does not exist; give bags or folders of bags')
            matches = [Path(match) for match in glob(str(source))]
        found = [item for match in matches for item in _bags_in(match, out.resolve())]
        if not found:
            raise BagError(
                f'{source} has no bags; give bags, folders of bags, or a pattern that matches some'
            )
        for bag, name in found:
            other = names.setdefault(name, bag)
            if other.resolve() != bag.resolve():
                raise BagError(
                    f'{other} and {bag} would both become {out / name}; give the folder above '
                    'them, or segment them into two folders'
                )
    return [BagJob(bag, out / name) for name, bag in sorted(names.items())]


def _bags_in(source: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each bag at or below `source`, with its name."""
    if source.resolve() == out:
        return
    if is_one_bag(source):
        yield source, Path(_name(source))
    else:
        yield from _search(source, Path(), out)


def _search(folder: Path, within: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith('.') or path.resolve() == out:
            continue
        if path.is_dir() and not is_one_bag(path):
            # Links can form cycles.
            if not path.is_symlink():
                yield from _search(path, within / path.name, out)
        elif path.is_dir() or path.suffix in BAG_SUFFIXES:
            yield path, within / _name(path)


def _name(bag: Path) -> str:
    return bag.stem if bag.suffix in BAG_SUFFIXES and not bag.is_dir() else bag.resolve().name
