"""Labelled frames on disk: paths, pairing, reading and checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import LabelDecoder
from fcn_road_seg.utils.picture import PictureError, read_picture

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')
PALETTE_REFUSAL = (
    'a palette PNG, whose colours are no labels; save its indices as a grey PNG, with Pillow: '
    'Image.fromarray(numpy.array(Image.open(FILE))).save(FILE)'
)


class DatasetError(ValueError):
    """A data set on disk has the wrong layout, a missing file or an invalid label."""


class NoImageError(DatasetError):
    """A folder holds no image."""


@dataclass(frozen=True)
class LabelledFrame:
    """One frame and its label file.

    Attributes:
        frame_path: image file.
        label_path: label file, of the frame's size.
        decode: turns the label file's pixels into BACKGROUND, ROAD and VOID.
        category: um, umm or uu in KITTI road, '' in other data sets.
        classes: names of the classes by their index in the label file, if the data set has more
            than road and background.
        calibration_path: calibration file, of KITTI frames that have one.
    """

    frame_path: Path
    label_path: Path
    decode: LabelDecoder
    category: str = ''
    classes: tuple[str, ...] = ()
    calibration_path: Path | None = None

    @property
    def name(self) -> str:
        """The frame file's name without its suffix."""
        return self.frame_path.stem

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (frame_rgb (H, W, 3) uint8, label (H, W) uint8 of BACKGROUND, ROAD, VOID).

        Raises:
            DatasetError: a file is not an image, the sizes differ, or the label has an unknown
                value; the message names the file.
        """
        frame_bgr = read_image(self.frame_path)
        raw_label = self.load_raw_label()
        if raw_label.shape[:2] != frame_bgr.shape[:2]:
            raise DatasetError(
                f'{self.label_path} is {raw_label.shape[:2]} (H, W) but its frame '
                f"{self.frame_path} is {frame_bgr.shape[:2]}; labels must have their frame's size"
            )
        try:
            label = self.decode(raw_label)
        except ValueError as error:
            # OpenCV converts a palette to colours, so `error` names channels that the file lacks.
            is_palette = raw_label.ndim == 3 and _has_palette(self.label_path)
            reason = PALETTE_REFUSAL if is_palette else str(error)
            raise DatasetError(f'{self.label_path}: {reason}') from error
        frame_rgb = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
        return frame_rgb, label

    def load_raw_label(self) -> np.ndarray:
        """Return the label file's pixels: (H, W, 3) BGR, or (H, W) indices of `classes`.

        Raises:
            DatasetError: the file is not an image.
        """
        return read_image(self.label_path, unchanged=True)

    def version(self) -> tuple[object, ...]:
        """Return what the result of `load` depends on, apart from the code that reads the files.

        These are the frame's fields, and both files' modification times (ns) and sizes (bytes).

        Raises:
            DatasetError: a file is gone.
        """
        # By name: the address of a function differs from process to process.
        function = getattr(self.decode, 'func', self.decode)
        code = type(self).__name__, function.__qualname__, getattr(self.decode, 'keywords', None)
        values = [getattr(self, field.name) for field in fields(self) if field.name != 'decode']
        try:
            files = [path.stat() for path in (self.frame_path, self.label_path)]
        except OSError as error:
            raise DatasetError(f'{error.filename} cannot be read ({error.strerror})') from error
        return (
            code,
            *(value.absolute() if isinstance(value, Path) else value for value in values),
            *((file.st_mtime_ns, file.st_size) for file in files),
        )


@dataclass(frozen=True)
class UnlabelledFrame:
    """A frame of the KITTI road test set, which has no label."""

    frame_path: Path
    calibration_path: Path

    @property
    def submission_name(self) -> str:
        """The name of the frame's result on the benchmark's server, such as um_road_000000.png."""
        category, _, number = self.frame_path.stem.partition('_')
        return f'{category}_road_{number}.png'

    def load(self) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the file is not an image.
        """
        return cv2.cvtColor(read_image(self.frame_path), cv2.COLOR_BGR2RGB)


def limit_size(
    frame_rgb: np.ndarray, label: np.ndarray, max_pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return frame and label with at most about `max_pixels` pixels, at their aspect ratio.

    The frame, (H, W, 3) uint8, is reduced by area; the label, (H, W) uint8, takes the nearest
    pixel, since interpolated labels mean nothing.
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


def pair_with_label(
    frame_path: Path, label_path: Path, decode: LabelDecoder, classes: tuple[str, ...] = ()
) -> LabelledFrame:
    """Return the labelled frame.

    Raises:
        DatasetError: the label file does not exist.
    """
    if not label_path.is_file():
        raise DatasetError(f'{frame_path} has no label; {label_path} is expected')
    return LabelledFrame(frame_path, label_path, decode, classes=classes)


def pair_folders(
    frames: Path, labels: Path, decode: LabelDecoder, classes: tuple[str, ...] = ()
) -> list[LabelledFrame]:
    """Return the frames in `frames` and below; their labels are PNG files of the same paths.

    Raises:
        DatasetError: there is no frame, or a frame has no label.
    """
    return [
        pair_with_label(f, labels / f.relative_to(frames).with_suffix('.png'), decode, classes)
        for f in find_images(frames)
    ]


def find_images(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files in `folder` and below, sorted.

    This is the rule for every reader of the package: symlinks to files and to folders are
    followed; names that begin with a dot are skipped (`._*` of macOS, `.ipynb_checkpoints`).

    Raises:
        NoImageError: there are none.
        DatasetError: a folder cannot be read, or a symlink leads nowhere or to a folder that
            contains it.
    """
    try:
        found = sorted(_walk(folder, frozenset())) if folder.is_dir() else []
    except OSError as error:
        raise DatasetError(f'{error.filename} cannot be read ({error.strerror})') from error
    if not found:
        raise NoImageError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    return found


def read_image(path: Path, unchanged: bool = False) -> np.ndarray:
    """Return a file's picture, (H, W, 3) uint8 BGR, or as it is stored if `unchanged`.

    Raises:
        DatasetError: the file is not a complete picture; the message names it.
    """
    try:
        return read_picture(path, unchanged)
    except PictureError as error:
        raise DatasetError(f'{path} cannot be read: {error}; replace or remove it') from error


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        raise DatasetError(f'{folder} is a link to a folder that contains it; remove the link')
    for path in folder.iterdir():
        if path.name.startswith('.'):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            if not path.is_file():
                raise DatasetError(f'{path} is not a file, or a link to none; remove it')
            yield path


def refuse_shared_labels(frames: Iterable[LabelledFrame]) -> None:
    """Raise DatasetError if two frames have the same label file."""
    frame_of: dict[Path, LabelledFrame] = {}
    for frame in frames:
        other = frame_of.setdefault(frame.label_path, frame)
        if other is not frame:
            raise DatasetError(
                f'{other.frame_path} and {frame.frame_path} have the same label, '
                f'{frame.label_path}; rename one frame and give it a label of its own'
            )


def _has_palette(path: Path) -> bool:
    """Return whether a file is a PNG of colour type 3 (PNG specification, IHDR)."""
    with path.open('rb') as file:
        head = file.read(26)
    return head.startswith(b'\x89PNG') and head[25:] == b'\x03'
