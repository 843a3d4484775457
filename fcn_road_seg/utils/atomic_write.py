"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes that name only when all went well.

    Until then an earlier file of that name stays as it is, and after an error (a full disk, a
    kill) still: what was written is then removed, where the process lives to do so.
    """
    path = Path(path)
    # Named by no other writer, of this process or another.
    descriptor, name = tempfile.mkstemp('.part', f'{path.name}.', path.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        with part.open('rb+') as file:
            # A rename may reach the disk before the bytes do.
            os.fsync(file.fileno())
        # Some writers (safetensors) make a file that only its owner can read.
        part.chmod(0o644)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
