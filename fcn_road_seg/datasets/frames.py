"""TODO: one line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import LabelDecoder

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')


class DatasetError(ValueError):
    """A data set on disk is not laid out, paired or labelled as it should be."""


@dataclass(frozen=True)
class LabelledFrame:
    """One frame, its label file, and the rule that reads the label.

    `category` is um, umm or uu in KITTI road and '' elsewhere. `classes` names the classes by
    their index in the label file, where a data set tells more than road and background.
    `calibration_path` is there for KITTI frames that have one.
    """

    frame_path: Path
    label_path: Path
    decode: LabelDecoder
    category: str = ''
    classes: tuple[str, ...] = ()
    calibration_path: Path | None = None

    @property
    def name(self) -> str:
        """The frame file's name without its ending."""
        return self.frame_path.stem

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (frame_rgb (H, W, 3) uint8, label (H, W) uint8 of BACKGROUND, ROAD, VOID).

        Raises:
            DatasetError: a file is not an image, the sizes differ, or a label has an unknown
                value; the message names the file.
        """
        frame_bgr = _read_image(self.frame_path, cv2.IMREAD_COLOR)
        raw_label = self.load_raw_label()
        if raw_label.shape[:2] != frame_bgr.shape[:2]:
            raise DatasetError(
                f'{self.label_path} is {raw_label.shape[:2]} (H, W) but its frame '
                f"{self.frame_path} is {frame_bgr.shape[:2]}; labels must have their frame's size"
            )
        try:
            label = self.decode(raw_label)
        except ValueError as error:
            raise DatasetError(f'{self.label_path}: {error}') from error
        frame_rgb = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        return frame_rgb, label

    def load_raw_label(self) -> np.ndarray:
        """Return the label file as it is: colours (H, W, 3) BGR, or the index of `classes`.

        Raises:
            DatasetError: the file is not an image.
        """
        return _read_image(self.label_path, cv2.IMREAD_UNCHANGED)


@dataclass(frozen=True)
class UnlabelledFrame:
    """A frame of the KITTI road test set, which has no label."""

    frame_path: Path
    calibration_path: Path

    @property
    def submission_name(self) -> str:
        """What the benchmark's server calls its result: um_road_000000.png and so on."""
        category, _, number = self.frame_path.stem.partition('_')
        return f'{category}_road_{number}.png'

    def load(self) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file is not an image.
        """
        return cv2.cvtColor(_read_image(self.frame_path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def limit_size(
    frame_rgb: np.ndarray, label: np.ndarray, max_pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair with at most about `max_pixels` pixels, its aspect ratio kept.

    The frame is reduced by area; the label takes its nearest pixel, never an interpolation.
    """
    h, w = label.shape
    if h * w <= max_pixels:
        return frame_rgb, label
    scale = math.sqrt(max_pixels / (h * w))
    size_wh = (round(w * scale), round(h * scale))
    return (
        cv2.resize(frame_rgb, size_wh, interpolation=cv2.INTER_AREA),
        cv2.resize(label, size_wh, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def _pair(
    frame_path: Path, label_path: Path, decode: LabelDecoder, classes: tuple[str, ...] = ()
) -> LabelledFrame:
    if not label_path.is_file():
        raise DatasetError(f'{frame_path} has no label; {label_path} is expected')
    return LabelledFrame(frame_path, label_path, decode, classes=classes)


def _images(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DatasetError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    return found


def _read_image(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f'{path} is not a readable image; replace or remove it')
    return image
