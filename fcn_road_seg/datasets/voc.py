"""Exports in the layout of Pascal VOC: labelme's palette PNGs and CVAT's coloured ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame, find_images, read_image
from fcn_road_seg.datasets.labels import (
    BACKGROUND,
    ROAD,
    UNMATCHED,
    VOID,
    decode_by_table,
    match_colours,
)

ROAD_CLASS = 'road'

_IMAGES = 'JPEGImages'
_MASK_FOLDERS = ('SegmentationClassPNG', 'SegmentationClass')
_IGNORED = '__ignore__'


@dataclass(frozen=True)
class VocFrame(LabelledFrame):
    """A frame whose label is a PNG with one palette index, or one colour, for each class.

    `colours` are the RGB colours of `classes`, in that order; if there are none, the palette's
    indices are the classes' numbers.
    """

    colours: tuple[tuple[int, int, int], ...] = ()

    def load_raw_label(self) -> np.ndarray:
        """Return the number of each pixel's class, (H, W) uint8.

        Raises:
            DatasetError: the file is not a complete picture, has colours where indices are
                expected, or a colour that no class has.
        """
        colours_bgr = read_image(self.label_path)
        if self.colours:
            return self._classes_of(colours_bgr[..., ::-1])
        # OpenCV has no palettes. Pillow reads them, but it neither checks the sums of a PNG nor
        # limits its size as above; given any format, it would start Ghostscript for some files.
        try:
            with Image.open(self.label_path, formats=('PNG',)) as image:
                mode, index = image.mode, np.array(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f'{self.label_path} is not a readable PNG ({error})') from error
        if mode not in ('P', 'L'):
            raise DatasetError(
                f'{self.label_path} has colours (mode {mode}) and no palette; '
                'export palette PNGs, or put the labelmap.txt of CVAT beside the folders'
            )
        return index

    def _classes_of(self, rgb: np.ndarray) -> np.ndarray:
        numbers = match_colours(rgb, self.colours)
        unknown = rgb[numbers == UNMATCHED]
        if len(unknown):
            colour = tuple(unknown[0].tolist())
            raise DatasetError(
                f'{self.label_path} has the colour {colour} (RGB), which no class has'
            )
        return numbers


def is_voc(root: Path) -> bool:
    """Return whether `root` has the folders of a VOC export."""
    return (root / _IMAGES).is_dir() and any((root / name).is_dir() for name in _MASK_FOLDERS)


def find_voc_frames(root: Path) -> list[LabelledFrame]:
    """Return the frames that have a mask; the class called `road` is road, 255 is void.

    Raises:
        DatasetError: there is no readable list of classes, no class is called road, there are more
            than 255 classes, or a mask has no frame.
    """
    names, colours = _read_classes(root)
    if len(names) > VOID:
        raise DatasetError(f'{root} has {len(names)} classes; a mask has at most {VOID} of them')
    if ROAD_CLASS not in names:
        raise DatasetError(
            f'{root} has the classes {", ".join(names)}; one must be called {ROAD_CLASS!r}'
        )
    meaning = dict.fromkeys(range(len(names)), BACKGROUND)
    meaning |= {names.index(ROAD_CLASS): ROAD, VOID: VOID}
    decode = partial(decode_by_table, meaning=meaning)
    images = root / _IMAGES
    frames_of: dict[Path, list[Path]] = {}
    for path in find_images(images):
        frames_of.setdefault(path.relative_to(images).with_suffix(''), []).append(path)
    masks = next(root / name for name in _MASK_FOLDERS if (root / name).is_dir())
    found: list[LabelledFrame] = []
    for mask in find_images(masks):
        # With its subfolder: CVAT keeps those of a task, whose drives may share file names.
        frame_paths = frames_of.get(mask.relative_to(masks).with_suffix(''))
        if frame_paths is None:
            raise DatasetError(f'{mask} has no frame in {images}')
        # All of them (a.jpg and a.png), so that `find_frames` refuses a mask that they share.
        for path in frame_paths:
            found.append(VocFrame(path, mask, decode, classes=names, colours=colours))
    return found


def _read_classes(root: Path) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Return the classes' names in order and, if CVAT wrote them, their colours (RGB)."""
    labelme, cvat = root / 'class_names.txt', root / 'labelmap.txt'
    if labelme.is_file():
        names = _read_text(labelme).split('\n')
        # The class to ignore comes first there, and is 255 in the masks.
        return tuple(name.strip() for name in names if name.strip() not in ('', _IGNORED)), ()
    if not cvat.is_file():
        raise DatasetError(f'{root} has neither class_names.txt (labelme) nor labelmap.txt (CVAT)')
    names_and_colours = []
    for line in _read_text(cvat).splitlines():
        # name:r,g,b:parts:actions
        name, _, rest = line.partition(':')
        if not line.strip() or line.startswith('#'):
            continue
        try:
            # `bytes` refuses what is not in [0, 255].
            r, g, b = bytes(int(value) for value in rest.partition(':')[0].split(','))
        except ValueError as error:
            raise DatasetError(f'{cvat}: {line[:80]!r} is not name:r,g,b:parts:actions') from error
        names_and_colours.append((name.strip(), (r, g, b)))
    return tuple(n for n, _ in names_and_colours), tuple(c for _, c in names_and_colours)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise DatasetError(f'{path} is not UTF-8 text; save it as UTF-8') from error
