"""A cache of decoded frames in a folder on disk, which all training runs of a user share."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from fcn_road_seg.datasets.rendered import Sample
from fcn_road_seg.utils.atomic_write import atomic_write, refuse_unwritable_folder

# Height and width, little-endian.
_HEADER = np.dtype('<u4')
_HEADER_BYTES = 2 * _HEADER.itemsize
# The file with the total size of all files in bytes; a lock on it guards the number.
_SIZE_NAME = 'size'
# The processes of one training run do not start at the same moment.
_SPARED_BEFORE_S = 60.0
# Disk space to leave free: the run needs some for its checkpoints.
_FREE_BYTES = 5 * 10**9
# When old files are removed, this share of the size limit is freed at once, because listing the
# folder takes long.
_FREED_SHARE = 0.02


def default_cache_folder() -> Path:
    """Return the user's cache folder, by the XDG base directory specification.

    Raises:
        ValueError: the user has no home folder.
    """
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    # HOME is not set, and the user is not in /etc/passwd, as in some containers.
    if home.startswith('~'):
        raise ValueError('there is no home folder for the cache; use another folder (--cache)')
    return Path(home) / 'fcn_road_seg' / 'frames'


def frame_key(version: tuple[object, ...]) -> str:
    """Return the cache key of a frame, which changes with `version` and with the code.

    `version` is what the frame depends on; its `repr` must be the same in every process.
    """
    return hashlib.sha256(_code_version() + repr(version).encode()).hexdigest()[:40]


class FrameCache:
    """Frames and their labels by key, in files of at most `max_bytes` bytes in total.

    Any number of processes may use the same folder at once. When it is full, the least recently
    used files are removed, but none used later than one minute before this object was created. If
    none can be removed, or the disk is nearly full, nothing more is stored. A file that somebody
    else removes is merely a cache miss.

    Raises:
        ValueError: the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = folder = Path(folder)
        self.max_bytes = max_bytes
        self._is_full = not self.is_used
        if not self.is_used:
            return
        refuse_unwritable_folder(folder, 'use another folder (--cache)')
        folder.mkdir(parents=True, exist_ok=True)
        size_file = folder / _SIZE_NAME
        size_file.touch()
        # By the clock of the file system, which may be another machine's.
        self._spared_s = size_file.stat().st_mtime - _SPARED_BEFORE_S
        # Counted anew: after a kill or an rm, the number may include files that do not exist.
        with size_file.open('r+') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _write_number(file.fileno(), self.used_bytes())

    @property
    def is_used(self) -> bool:
        """Whether frames are cached; with a `max_bytes` of 0, the folder is not touched."""
        return self.max_bytes > 0

    def use(self, key: str) -> bool:
        """Protect a cached frame from removal by this run; return whether it is cached."""
        if not self.is_used:
            return False
        try:
            os.utime(self.folder / key)
        except OSError:
            return False
        return True

    def load(self, key: str) -> Sample | None:
        """Return (frame_rgb (H, W, 3) uint8, label (H, W) uint8), or None if it is not there."""
        if not self.is_used:
            return None
        try:
            data = np.fromfile(self.folder / key, np.uint8)
        except OSError:
            return None
        if data.size < _HEADER_BYTES:
            return None
        h, w = data[:_HEADER_BYTES].view(_HEADER).tolist()
        frame, label = np.split(data[_HEADER_BYTES:], [3 * h * w])
        # A power cut can leave a file that is truncated or all zeros.
        if label.size != h * w or not label.size:
            return None
        return frame.reshape(h, w, 3), label.reshape(h, w)

    def store(self, key: str, sample: Sample) -> None:
        """Write a frame and its label, unless the folder or the disk has no room for them.

        The file is written completely or not at all.
        """
        if self._is_full:
            return
        frame_rgb, label = sample
        size = _HEADER_BYTES + frame_rgb.nbytes + label.nbytes
        try:
            with (self.folder / _SIZE_NAME).open('r+') as file:
                # Only one process writes at a time: writing takes far less time than decoding.
                fcntl.flock(file, fcntl.LOCK_EX)
                if not self._count(size, file):
                    self._is_full = True
                    return
                path = self.folder / key
                with atomic_write(path, durable=False) as part, part.open('wb') as frame_file:
                    frame_file.write(np.array(label.shape, _HEADER).tobytes())
                    frame_file.write(np.ascontiguousarray(frame_rgb).data)
                    frame_file.write(np.ascontiguousarray(label).data)
        except OSError:
            # Usually a full disk. Training continues, and decodes the frame again.
            self._is_full = True

    def used_bytes(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(size for _, size, _ in self._files())

    def _count(self, size: int, file: TextIO) -> bool:
        """Count `size` more bytes if there is room, or it can be made; return whether there is."""
        text = file.read()
        used = int(text) if text.isdecimal() else self.used_bytes()
        if used + size > self.max_bytes:
            used = self._remove_unused(self.max_bytes - size)
        has_room = (
            used + size <= self.max_bytes
            and shutil.disk_usage(self.folder).free >= size + _FREE_BYTES
        )
        _write_number(file.fileno(), used + size if has_room else used)
        return has_room

    def _remove_unused(self, goal: int) -> int:
        """Remove files unused by this run to get below `goal` bytes; return the bytes left."""
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for used_s, size, path in files:
            if used_s >= self._spared_s or used <= goal - self.max_bytes * _FREED_SHARE:
                break
            path.unlink(missing_ok=True)
            used -= size
        return used

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return each file's time of last use (s), size (bytes) and path; also unfinished ones."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue  # Another process has renamed or removed it.
                # A starting process briefly makes a folder here, to check that it can write.
                if entry.name != _SIZE_NAME and not entry.is_dir():
                    found.append((stat.st_mtime, stat.st_size, Path(entry.path)))
        return found


def _write_number(descriptor: int, number: int) -> None:
    # A kill cannot cut off a single write of fixed length.
    os.pwrite(descriptor, f'{number:020}'.encode(), 0)


@functools.cache
def _code_version() -> bytes:
    """Return a hash of the code that reads, renders and reduces frames."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(f'{cv2.__version__} {np.__version__}'.encode())
    for wing in ('datasets', 'synthetic', 'utils'):
        for path in sorted((package / wing).glob('*.py')):
            digest.update(path.read_bytes())
    return digest.digest()
