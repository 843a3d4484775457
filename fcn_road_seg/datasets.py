"""Labelled road frames on disk: KITTI road, CamVid, IDD Lite, plain image + mask folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

BACKGROUND, ROAD, VOID = 0, 1, 255
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')
SPLITS = ('train', 'val', 'all')
CAMVID_CLASSES = (
    *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car'),
    *('pedestrian', 'bicyclist', 'unlabelled'),
)
IDD_LITE_CLASSES = (
    *('drivable', 'non-drivable', 'living things', 'vehicles', 'roadside objects'),
    *('far objects', 'sky'),
)

LabelDecoder = Callable[[np.ndarray], np.ndarray]


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


class RoadFrames(Dataset[tuple[Tensor, Tensor]]):
    """Labelled frames held in memory, as tensors: ([3, H, W] uint8 RGB, [H, W] uint8 label).

    `samples` are pairs as `LabelledFrame.load` returns them. Memory is 4 bytes a pixel; in
    return every file has been read and checked before a training starts.
    """

    def __init__(self, samples: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        self.samples = [
            (torch.from_numpy(frame_rgb).permute(2, 0, 1), torch.from_numpy(label))
            for frame_rgb, label in samples
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.samples[index]


@dataclass(frozen=True)
class SplitRule:
    """Which frames of a data set validate, and so are not trained on.

    Data sets with a split of their own (CamVid, IDD Lite) keep it; of the others the last
    `val_fraction` of each category validates, or with `fold` (k, n) the k-th of n contiguous
    blocks, so that frames which follow one another do not stand on both sides. Of a data set in
    which frames' names begin with one of `hold_out` (a drive), these validate and no others do.

    Raises:
        ValueError: a fraction outside of [0, 1), or a fold that is not one of n.
    """

    val_fraction: float = 0.2
    fold: tuple[int, int] | None = None
    hold_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f'val_fraction {self.val_fraction} is not in [0, 1)')
        if self.fold is not None and not 1 <= self.fold[0] <= self.fold[1]:
            raise ValueError(f'fold {self.fold[0]}/{self.fold[1]} is none; say 1/5 to 5/5')

    def is_val(self, index: int, count: int) -> bool:
        """Return whether the `index`-th of a category's `count` frames validates."""
        if self.fold is None:
            return index >= count - round(count * self.val_fraction)
        k, n = self.fold
        return round(count * (k - 1) / n) <= index < round(count * k / n)


def find_frames(
    root: str | Path, split: str, rule: SplitRule = SplitRule()
) -> list[LabelledFrame]:
    """Return the frames of the 'train', 'val' or 'all' split of the data set in `root`.

    The layout tells the data set: `training/image_2` is KITTI road, `trainannot` CamVid,
    `gtFine` IDD Lite, `images` + `masks` a plain folder.

    Raises:
        DatasetError: no known layout, or a frame without its label.
    """
    if split not in SPLITS:
        raise ValueError(f'split {split!r} is unknown; use one of {SPLITS}')
    frames_of = _splits(Path(root), rule)
    if rule.hold_out:
        train, val = frames_of('train'), frames_of('val')
        held_out = [f for f in train + val if f.name.startswith(rule.hold_out)]
        if held_out:
            train = [f for f in train if not f.name.startswith(rule.hold_out)]
            return {'train': train, 'val': held_out, 'all': train + held_out}[split]
    return frames_of(split) if split != 'all' else frames_of('train') + frames_of('val')


def _splits(root: Path, rule: SplitRule) -> Callable[[str], list[LabelledFrame]]:
    if (root / 'training' / 'image_2').is_dir():
        return partial(_by_rule, _kitti_road(root / 'training'), rule)
    if (root / 'trainannot').is_dir() or (root / 'valannot').is_dir():
        return partial(_camvid, root)
    if (root / 'gtFine').is_dir():
        return partial(_idd_lite, root)
    if (root / 'images').is_dir() and (root / 'masks').is_dir():
        return partial(_by_rule, _plain_folder(root), rule)
    raise DatasetError(
        f'{root} is no known data set; it needs training/image_2 (KITTI road), trainannot '
        '(CamVid), gtFine (IDD Lite) or images and masks'
    )


def find_test_frames(root: str | Path) -> list[UnlabelledFrame]:
    """Return the frames of the KITTI road test set in `root`.

    Raises:
        DatasetError: `root` has no testing/image_2, or a frame no calibration.
    """
    testing = Path(root) / 'testing'
    if not (testing / 'image_2').is_dir():
        raise DatasetError(f'{root} has no testing/image_2; give the folder of KITTI road')
    found = [
        UnlabelledFrame(f, testing / 'calib' / f'{f.stem}.txt')
        for f in _images(testing / 'image_2')
    ]
    for frame in found:
        if not frame.calibration_path.is_file():
            raise DatasetError(
                f'{frame.frame_path} has no calibration; {frame.calibration_path} is expected'
            )
    return found


def reduced(
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


def kitti_road_label(gt_bgr: np.ndarray) -> np.ndarray:
    """Decode a KITTI road ground truth: road where blue > 0, valid where red > 0, else void."""
    if gt_bgr.ndim != 3:
        raise ValueError('a KITTI road label is a colour image, this one is grey')
    label = (gt_bgr[..., 0] > 0).astype(np.uint8)
    label[gt_bgr[..., 2] == 0] = VOID
    return label


def camvid_label(index: np.ndarray) -> np.ndarray:
    """Decode CamVid class indices 0..11: 3 is road, 11 (unlabelled) void."""
    return _by_table(index, {**dict.fromkeys(range(11), BACKGROUND), 3: ROAD, 11: VOID})


def idd_lite_label(index: np.ndarray) -> np.ndarray:
    """Decode IDD Lite class indices: 0 is drivable, 1..6 are not, 255 is void."""
    return _by_table(index, {0: ROAD, **dict.fromkeys(range(1, 7), BACKGROUND), 255: VOID})


def plain_label(mask: np.ndarray) -> np.ndarray:
    """Decode a plain mask: 0 is background, 255 (or 1) road, 127 or 128 void."""
    if mask.ndim == 2 and mask.dtype == np.uint8 and np.any(mask == 1) and np.any(mask == 255):
        raise ValueError('1 and 255 both occur, and only one of them can be road; use 0, 255, 128')
    return _by_table(mask, {0: BACKGROUND, 1: ROAD, 127: VOID, 128: VOID, 255: ROAD})


def _by_table(index: np.ndarray, meaning: dict[int, int]) -> np.ndarray:
    if index.ndim != 2 or index.dtype != np.uint8:
        raise ValueError(f'a label has one 8-bit channel, this one {index.shape}, {index.dtype}')
    unknown = sorted(set(np.flatnonzero(np.bincount(index.ravel(), minlength=256))) - set(meaning))
    if unknown:
        raise ValueError(f'label value {unknown[0]} is unknown; known are {sorted(meaning)}')
    table = np.full(256, VOID, np.uint8)
    table[list(meaning)] = list(meaning.values())
    return table[index]


def _kitti_road(training: Path) -> list[LabelledFrame]:
    found = []
    for frame_path in _images(training / 'image_2'):
        category, _, number = frame_path.stem.partition('_')
        # um_000000.png belongs to um_road_000000.png; um_lane_* is the ego lane, another task.
        label_path = training / 'gt_image_2' / f'{category}_road_{number}.png'
        frame = replace(_pair(frame_path, label_path, kitti_road_label), category=category)
        calibration_path = training / 'calib' / f'{frame_path.stem}.txt'
        if calibration_path.is_file():
            frame = replace(frame, calibration_path=calibration_path)
        found.append(frame)
    return found


def _camvid(root: Path, split: str) -> list[LabelledFrame]:
    annotations = root / f'{split}annot'
    return [
        _pair(f, annotations / f'{f.stem}.png', camvid_label, classes=CAMVID_CLASSES)
        for f in _images(root / split)
    ]


def _idd_lite(root: Path, split: str) -> list[LabelledFrame]:
    frames = root / 'leftImg8bit' / split
    labels = root / 'gtFine' / split
    return [
        _pair(
            f,
            labels / f.parent.relative_to(frames) / f'{f.stem.removesuffix("_image")}_label.png',
            idd_lite_label,
            classes=IDD_LITE_CLASSES,
        )
        for f in _images(frames)
    ]


def _plain_folder(root: Path) -> list[LabelledFrame]:
    return [
        _pair(f, root / 'masks' / f'{f.stem}.png', plain_label) for f in _images(root / 'images')
    ]


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


def _by_rule(frames: list[LabelledFrame], rule: SplitRule, split: str) -> list[LabelledFrame]:
    chosen: list[LabelledFrame] = []
    for _, group in groupby(frames, key=lambda frame: frame.category):
        members = list(group)
        for index, frame in enumerate(members):
            if rule.is_val(index, len(members)) == (split == 'val'):
                chosen.append(frame)
    return chosen


def _read_image(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f'{path} is not a readable image; replace or remove it')
    return image
