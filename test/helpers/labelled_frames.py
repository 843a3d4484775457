"""Small data sets on disk, with labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from fcn_road_seg.datasets.frames import LabelledFrame


def write_image(path: Path, pixels: ArrayLike, quality: int = 95) -> None:
    """Write an image with these uint8 pixels (a JPEG with this quality); create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == '.jpg' else []
    assert cv2.imwrite(str(path), np.asarray(pixels, np.uint8), options)


def grey(value: int, hw: tuple[int, int] = (4, 6)) -> np.ndarray:
    """Return an image whose pixels all have this value."""
    return np.full(hw, value, np.uint8)


def frame_stems(frames: Iterable[LabelledFrame]) -> list[str]:
    """Return the names of the frames' files without their suffixes."""
    return [frame.frame_path.stem for frame in frames]


def write_kitti_road(root: Path) -> Path:
    """Write 10 um and 5 umm training frames of 4 x 6 without any road, and return `root`."""
    for category, count in (('um', 10), ('umm', 5)):
        for i in range(count):
            write_image(root / f'training/image_2/{category}_{i:06d}.png', np.zeros((4, 6, 3)))
            gt = np.zeros((4, 6, 3))
            gt[..., 2] = 255
            write_image(root / f'training/gt_image_2/{category}_road_{i:06d}.png', gt)
    # The ego lane's ground truth is in the same folder, but is the label of another task.
    write_image(root / 'training/gt_image_2/um_lane_000000.png', np.full((4, 6, 3), 255))
    return root


@dataclass
class MadeFrame:
    """A frame in memory, with a label of zeros, that counts how often it is loaded."""

    pixels: np.ndarray
    loads: int = 0

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels and the label, and count."""
        self.loads += 1
        return self.pixels, np.zeros(self.pixels.shape[:2], np.uint8)

    def version(self) -> tuple[object, ...]:
        """Return the pixels."""
        return (self.pixels.tobytes(), self.pixels.shape)


def made_frame(value: int, hw: tuple[int, int] = (4, 4)) -> MadeFrame:
    """Return a frame whose pixels all have this value."""
    return MadeFrame(np.full((*hw, 3), value, np.uint8))
