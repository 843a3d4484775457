"""A hidden folder in which bags are written; they get their names when they are complete.

A process that is killed leaves its folder behind. A lock, which ends with the process, tells
whether it still runs: on this machine and, if the file system supports that, on others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

FOLDER = '.segment_bag'


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder, on the file system of the folder `out`; it is removed after the block.

    Raises:
        OSError: `out` cannot be written to.
    """
    lock, descriptor = _new_lock(out / FOLDER)
    folder = lock.with_suffix('')
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def publish(bag: Path, out: Path) -> bool:
    """Move a complete bag to its final name; return False if something else has that name.

    Raises:
        OSError: the bag cannot be moved.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        bag.rename(out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def clear_abandoned(out: Path) -> None:
    """Remove what killed processes left in `out`, but not what other runs are writing."""
    for lock in (out / FOLDER).glob('*.lock'):
        with suppress(OSError):  # locked, just removed, or no locks on this file system
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(''), ignore_errors=True)
                lock.unlink()
            finally:
                os.close(descriptor)
    with suppress(OSError):  # absent, or in use
        (out / FOLDER).rmdir()


def _new_lock(root: Path) -> tuple[Path, int]:
    """Return the path of a new locked file in `root`, and its descriptor."""
    while True:
        path = root / f'{uuid4().hex}.lock'
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileNotFoundError:  # another run has just removed the empty folder
            continue
        # Without locks on this file system, nobody removes what a killed run left.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before the file was locked, `clear_abandoned` may have removed it.
        if path.exists():
            return path, descriptor
        os.close(descriptor)
