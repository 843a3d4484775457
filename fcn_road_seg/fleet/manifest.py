"""The manifest in a finished bag's folder: what was asked for, and what was written.

It is in the folder, beside metadata.yaml, so that one rename publishes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_road_seg import __version__
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.utils.atomic_write import write_json

FILE_NAME = 'segment_bag.json'


@dataclass(frozen=True)
class Request:
    """What determines the content of every bag: the checkpoint and the options, ready for JSON."""

    checkpoint_sha256: str
    options: Mapping[str, Any]

    def of(self, job: BagJob) -> dict[str, Any]:
        """Return what determines one bag's content; the input is identified by name and size.

        Raises:
            OSError: the input does not exist.
        """
        source = job.source
        # Not below it: an OUT in the bag's own folder would change the size.
        files = source.iterdir() if source.is_dir() else [source]
        size_bytes = sum(file.stat().st_size for file in files if not file.is_dir())
        asked = {
            'checkpoint_sha256': self.checkpoint_sha256,
            'options': self.options,
            'input': {'name': source.name, 'bytes': size_bytes},
        }
        # In the form in which it is read back: tuples become lists.
        result: dict[str, Any] = json.loads(json.dumps(asked))
        return result


def write_manifest(bag: Path, asked: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a complete bag, with the sizes of its files, and return it.

    Raises:
        OSError: as write_json.
    """
    sizes_bytes = {file.name: file.stat().st_size for file in sorted(bag.iterdir())}
    manifest = {'version': __version__, **asked, **made, 'files': sizes_bytes}
    write_json(manifest, bag / FILE_NAME)
    return manifest


def read_manifest(bag: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of a bag that is complete and was made as `asked`; None without a bag.

    Raises:
        BagError: there is another bag or file with this name, or the bag is not complete.
    """
    if not bag.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads((bag / FILE_NAME).read_text())
        files = dict(manifest['files'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BagError(
            f'{bag} exists, but without a readable {FILE_NAME}; remove it, or use another OUT'
        ) from error
    for key, value in asked.items():
        if manifest.get(key) != value:
            raise BagError(
                f'{bag} is from another run ({_difference(key, manifest.get(key), value)}); '
                'remove it, or use another OUT'
            )
    for name, size_bytes in files.items():
        file = bag / name
        if not file.is_file() or file.stat().st_size != size_bytes:
            raise BagError(
                f'{file} is missing or not {size_bytes} bytes long; remove {bag}, and run the '
                'command again'
            )
    return manifest


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in new:
            if old.get(name) != new[name]:
                return _difference(f'{key} {name}', old.get(name), new[name])
    return f'{key}: {str(old)[:40]}, now {str(new)[:40]}'
