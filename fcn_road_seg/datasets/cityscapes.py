"""Cityscapes: its own folders, its image pairs, and KITTI semantics, which shares its classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.frames import (
    DatasetError,
    LabelledFrame,
    find_images,
    pair_folders,
    pair_with_label,
    read_image,
)
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID, decode_by_table

# By label id (Cordts et al. 2016): the name and the official colour, RGB. In an image pair, a
# colour that several classes share stands for the first of them.
_CLASSES = (
    ('unlabelled', (0, 0, 0)),
    ('ego vehicle', (0, 0, 0)),
    ('rectification border', (0, 0, 0)),
    ('out of roi', (0, 0, 0)),
    ('static', (0, 0, 0)),
    ('dynamic', (111, 74, 0)),
    ('ground', (81, 0, 81)),
    ('road', (128, 64, 128)),
    ('sidewalk', (244, 35, 232)),
    ('parking', (250, 170, 160)),
    ('rail track', (230, 150, 140)),
    ('building', (70, 70, 70)),
    ('wall', (102, 102, 156)),
    ('fence', (190, 153, 153)),
    ('guard rail', (180, 165, 180)),
    ('bridge', (150, 100, 100)),
    ('tunnel', (150, 120, 90)),
    ('pole', (153, 153, 153)),
    ('polegroup', (153, 153, 153)),
    ('traffic light', (250, 170, 30)),
    ('traffic sign', (220, 220, 0)),
    ('vegetation', (107, 142, 35)),
    ('terrain', (152, 251, 152)),
    ('sky', (70, 130, 180)),
    ('person', (220, 20, 60)),
    ('rider', (255, 0, 0)),
    ('car', (0, 0, 142)),
    ('truck', (0, 0, 70)),
    ('bus', (0, 60, 100)),
    ('caravan', (0, 0, 90)),
    ('trailer', (0, 0, 110)),
    ('train', (0, 80, 100)),
    ('motorcycle', (0, 0, 230)),
    ('bicycle', (119, 11, 32)),
)
CITYSCAPES_CLASSES = tuple(name for name, _ in _CLASSES)
_COLOURS = np.array([colour for _, colour in _CLASSES], np.float32)
_ROAD_ID = CITYSCAPES_CLASSES.index('road')
# The id of licence plates is -1, which is 255 in an 8-bit image.
_LICENCE_PLATE = 255


def cityscapes_label(label_ids: np.ndarray) -> np.ndarray:
    """Decode (H, W) uint8 Cityscapes label ids, 0..33 and 255: 7 is road, 0..6 are void.

    Raises:
        ValueError: there is an unknown id, or the label is not one 8-bit channel.
    """
    background = dict.fromkeys((*range(_ROAD_ID + 1, len(_CLASSES)), _LICENCE_PLATE), BACKGROUND)
    return decode_by_table(
        label_ids, {**dict.fromkeys(range(_ROAD_ID), VOID), _ROAD_ID: ROAD, **background}
    )


@dataclass(frozen=True)
class CityscapesPair(LabelledFrame):
    """One picture of the *image pairs*: frame and coloured label side by side, each square.

    Frame and label are stretched back to an aspect ratio of 2:1. Label pixels next to another
    class are void, as JPEG mixes the colours there.
    """

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (frame_rgb (H, W, 3) uint8, label (H, W) uint8 of BACKGROUND, ROAD, VOID).

        Raises:
            DatasetError: the file is not a picture of two halves.
        """
        frame_bgr, _ = self._halves()
        label = cityscapes_label(self.load_raw_label())
        h, w = label.shape
        frame_bgr = cv2.resize(frame_bgr, (w, h), interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB), label

    def load_raw_label(self) -> np.ndarray:
        """Return the label ids, (H, W) uint8; pixels next to another class are 0, unlabelled.

        Raises:
            DatasetError: the file is not a picture of two halves.
        """
        _, colours_bgr = self._halves()
        label_ids = _nearest_ids(colours_bgr)
        neighbours = np.ones((3, 3), np.uint8)
        beside_another = cv2.dilate(label_ids, neighbours) != cv2.erode(label_ids, neighbours)
        label_ids[beside_another] = 0
        h = len(label_ids)
        return cv2.resize(label_ids, (2 * h, h), interpolation=cv2.INTER_NEAREST_EXACT)

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        pair_bgr = read_image(self.frame_path)
        h, w = pair_bgr.shape[:2]
        if w != 2 * h:
            raise DatasetError(
                f'{self.frame_path} is {w} x {h} (W x H); an image pair is twice as wide as high'
            )
        return pair_bgr[:, :h], pair_bgr[:, h:]


def is_image_pairs(root: Path) -> bool:
    """Return whether `root` has the layout of the image pairs: `train/N.jpg`, N a number."""
    return any(path.stem.isdecimal() for path in (root / 'train').glob('*.jpg'))


def find_image_pairs(root: Path, split: str) -> list[LabelledFrame]:
    """Return the pairs of a split, sorted by number, which keeps each city together."""
    return [
        CityscapesPair(path, path, cityscapes_label, classes=CITYSCAPES_CLASSES)
        for path in sorted(find_images(root / split), key=_number)
    ]


def find_cityscapes_frames(root: Path, split: str) -> list[LabelledFrame]:
    """Return the frames of Cityscapes' own layout, `leftImg8bit/SPLIT/CITY` beside `gtFine`.

    Raises:
        DatasetError: a frame has no label ids.
    """
    frames = root / 'leftImg8bit' / split
    return [
        pair_with_label(
            path,
            root
            / 'gtFine'
            / split
            / path.parent.relative_to(frames)
            / f'{path.stem.removesuffix("_leftImg8bit")}_gtFine_labelIds.png',
            cityscapes_label,
            classes=CITYSCAPES_CLASSES,
        )
        for path in find_images(frames)
    ]


def find_kitti_semantics_frames(training: Path) -> list[LabelledFrame]:
    """Return the frames of KITTI's semantics benchmark, whose label ids are Cityscapes'.

    Raises:
        DatasetError: a frame has no label.
    """
    return pair_folders(
        training / 'image_2', training / 'semantic', cityscapes_label, CITYSCAPES_CLASSES
    )


def _nearest_ids(colours_bgr: np.ndarray) -> np.ndarray:
    """Return the (H, W) uint8 ids whose colours are nearest to (H, W, 3) uint8 BGR."""
    pixels = colours_bgr[..., ::-1].reshape(-1, 3).astype(np.float32)
    # The squared distance without the pixel's own square, which is the same for all colours.
    distance = (_COLOURS**2).sum(axis=1) - 2 * pixels @ _COLOURS.T
    return distance.argmin(axis=1).astype(np.uint8).reshape(colours_bgr.shape[:2])


def _number(path: Path) -> tuple[int, str]:
    return (int(path.stem), '') if path.stem.isdecimal() else (0, path.stem)
