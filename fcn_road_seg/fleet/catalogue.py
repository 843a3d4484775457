"""Finds the bags to segment, and names the bag to write for each."""

from __future__ import annotations

import os
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
    searched. `out` itself and hidden files and folders are not searched. Links are followed; of
    several paths to one bag, one without a link is taken.

    Raises:
        BagError: a source does not exist, a source or pattern has no bags, two bags would get the
            same name, or a bag or the only source is where the result would be.
    """
    candidates: list[tuple[bool, Path, Path]] = []
    real_out = out.resolve()
    for source in sources:
        # A shell's drives/* includes an `out` in drives.
        if source.resolve() == real_out:
            continue
        matches = [source]
        if not source.exists():
            if not has_magic(str(source)):
                raise BagError(f'{source} does not exist; give bags or folders of bags')
            matches = sorted(Path(match) for match in glob(str(source)))
        found = [item for match in matches for item in _bags_in(match, real_out)]
        if not found:
            raise BagError(
                f'{source} has no bags; give bags, folders of bags, or a pattern that matches some'
            )
        candidates += found
    if not candidates:
        raise BagError(f'{out} cannot be both IN and OUT; use another OUT')
    names: dict[Path, Path] = {}
    taken: set[Path] = set()
    for _, bag, name in sorted(candidates, key=lambda candidate: candidate[0]):
        real = bag.resolve()
        if real in taken:
            continue
        taken.add(real)
        if real == (out / name).resolve():
            raise BagError(f'the masks of {bag} would get its own name; use another OUT')
        other = names.setdefault(name, bag)
        if other is not bag:
            raise BagError(
                f'{other} and {bag} would both become {out / name}; give the folder above '
                'them, or segment them into two folders'
            )
    return [BagJob(bag, out / name) for name, bag in sorted(names.items())]


def _bags_in(source: Path, out: Path) -> Iterator[tuple[bool, Path, Path]]:
    """Yield for each bag at or below `source`: whether its path has a link, the path, a name."""
    if source.resolve() == out:
        return
    if is_one_bag(source):
        found = iter([(source, Path(_name(source)))])
    else:
        found = _search(source, Path(), out, frozenset())
    real = source.parent.resolve() / source.name
    for bag, name in found:
        yield bag.resolve() != real / bag.relative_to(source), bag, name


def _search(
    folder: Path, within: Path, out: Path, above: frozenset[Path]
) -> Iterator[tuple[Path, Path]]:
    above |= {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if path.name.startswith('.') or path.resolve() == out:
            continue
        if path.is_dir() and not is_one_bag(path):
            # Links can form cycles.
            if path.resolve() not in above:
                yield from _search(path, within / path.name, out, above)
        elif path.is_dir() or path.suffix in BAG_SUFFIXES:
            yield path, within / _name(path)


def _name(bag: Path) -> str:
    if bag.suffix in BAG_SUFFIXES and not bag.is_dir():
        return bag.stem
    # A link keeps its own name; only '..' has none.
    return os.path.basename(os.path.abspath(bag))
