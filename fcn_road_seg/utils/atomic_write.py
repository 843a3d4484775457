"""Files that are written completely or not at all."""

from __future__ import annotations

import glob
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it is renamed to `path` after the block.

    An earlier file of that name stays unchanged until then, and also after an error (e.g. a full
    disk). The unfinished file is removed after an error, unless the process was killed. If not
    `durable`, the file is written faster, but a power cut soon afterwards can leave it truncated.
    The file gets the permissions that the umask leaves, whatever those of its writer are.

    Raises:
        OSError: the folder does not exist or is not writable, or the disk is full.
    """
    path = Path(path)
    part = unfinished_path(path)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    try:
        yield part
        if durable:
            with part.open('rb+') as file:
                # Otherwise the rename may reach the disk before the bytes do.
                os.fsync(file.fileno())
        # Some writers (e.g. safetensors) create files that only their owner can read.
        part.chmod(mode)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(content: Any, path: Path) -> None:
    """Write `content` to a JSON file for humans, as `atomic_write` does.

    Raises:
        OSError: as `atomic_write`.
    """
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=2) + '\n')


def unfinished_path(path: Path) -> Path:
    """Return an absolute path beside `path` under which it is written until it is complete.

    It is another one at each call, as another thread or process may be writing `path`, too.
    """
    return path.parent.absolute() / f'{path.name}.{secrets.token_hex(4)}.part'


def remove_unfinished(path: Path) -> None:
    """Remove the unfinished files that processes left when they were killed writing `path`.

    Call it only while nothing writes `path`.
    """
    for part in path.parent.glob(f'{glob.escape(path.name)}.*.part'):
        part.unlink(missing_ok=True)


def refuse_unwritable_folder(folder: Path, advice: str = 'use another folder') -> None:
    """Raise ValueError, with `advice`, if `folder` cannot be made or written to; leave no trace.

    Call it before hours of work whose result would be lost for that reason.
    """
    try:
        there = folder
        while not there.exists():
            there = there.parent
        # Permissions do not tell: root may write despite them, except to file systems like /proc.
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise ValueError(f'{folder} cannot be written to ({error.strerror}); {advice}') from error


def refuse_to_overwrite(path: Path, other: str = 'name') -> None:
    """Raise ValueError, with the advice to use another `other`, if `path` exists.

    Also raise it if the folder of `path` cannot be written to. Call it before hours of work.
    """
    # Path.exists() overlooks a dangling link.
    if os.path.lexists(path):
        raise ValueError(f'{path} exists already; use another {other}, or remove it')
    refuse_unwritable_folder(path.parent)
