"""A folder of frames and masks that a labelling tool imports and `train --data` reads."""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fcn_road_seg.utils.atomic_write import refuse_to_overwrite, unfinished_path


class LabelFolder(ABC):
    """Adds frames to the folder `root`; each subclass says where they go and how masks are kept.

    `name` is the name that the folder will have.
    """

    images: str

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.stems: dict[str, None] = {}
        (root / self.images).mkdir()

    def add(self, name: str, picture: bytes, suffix: str, mask: np.ndarray) -> None:
        """Write a frame and its (H, W) mask, 0 or 255.

        `picture` holds the bytes of an image file with this suffix. The file gets the name in
        plain ASCII, with a number appended if that name is taken.
        """
        # A name that begins with a dot, as that of a bag can, would hide the frame from `train`.
        plain = stem = re.sub(r'^\.|[^\w.-]', '_', name, flags=re.ASCII)
        number = 0
        while stem in self.stems:
            number += 1
            stem = f'{plain}_{number}'
        self.stems[stem] = None
        (self.root / self.images / f'{stem}{suffix}').write_bytes(picture)
        self.add_mask(f'{stem}{suffix}', mask)

    @abstractmethod
    def add_mask(self, file_name: str, mask: np.ndarray) -> None:
        """Store the (H, W) mask, 0 or 255, of the frame with this file name."""

    @abstractmethod
    def finish(self) -> None:
        """Write the files that describe the whole folder, after the last frame."""


@contextmanager
def atomic_label_folder(
    out: Path, kind: Callable[[Path, str], LabelFolder]
) -> Iterator[LabelFolder]:
    """Yield a folder to fill, which becomes `out` when the block ends without an error.

    Raises:
        ValueError: `out` exists, or its folder is not writable.
        OSError: its folder does not exist, or the disk is full.
    """
    refuse_to_overwrite(out, 'folder')
    part = unfinished_path(out)
    part.mkdir()
    try:
        folder = kind(part, out.name)
        yield folder
        folder.finish()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
