"""KITTI folders: frames of the left colour camera with their stamps and calibration.

Three layouts are read: a raw drive (`image_02/data`), an odometry sequence (`image_2`,
`times.txt`), and a folder of the road benchmark (`image_2`, without times).
"""

from __future__ import annotations

import calendar
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import DatasetError, find_images
from fcn_road_seg.datasets.kitti_calibration import CalibrationError, matrix, read_calibration

DEFAULT_ROAD_RATE_HZ = 10.0
RAW_CALIBRATION = 'calib_cam_to_cam.txt'
_NS = 1_000_000_000
_TIMESTAMP = re.compile(r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{1,9})', re.ASCII)


class SequenceError(ValueError):
    """A folder has none of the three layouts, or is incomplete or invalid; the text says why."""


@dataclass(frozen=True)
class Camera:
    """A camera as ROS's CameraInfo describes it, all float64.

    `k` (3, 3), in pixels, and `d` (5,), in the order k1 k2 p1 p2 k3, describe the frames as they
    are, `r` (3, 3) rectifies, and `p` (3, 4) projects into the rectified frame. `frame_wh` is
    the frame size of the calibration in pixels, if the file states it.
    """

    k: np.ndarray
    d: np.ndarray
    r: np.ndarray
    p: np.ndarray
    frame_wh: tuple[int, int] | None = None


@dataclass(frozen=True)
class KittiFrame:
    """A frame: its number, its file, and its stamp in ns since 1970 or since the first frame.

    `problem` says why the frame cannot be used; it is empty if no reason is known.
    """

    number: int
    path: Path
    stamp_ns: int
    camera: Camera | None = None
    problem: str = ''


@dataclass(frozen=True)
class KittiSequence:
    """All frames of a folder in the order of their numbers, including those with a problem.

    `kind` is a name for humans. `one_size` says whether all frames must have the same size.
    """

    kind: str
    frames: Sequence[KittiFrame]
    one_size: bool


def find_sequence(folder: Path, rate_hz: float | None = None) -> KittiSequence:
    """Return the sequence in `folder`, without reading a frame.

    `rate_hz` is for the road benchmark, whose frames have no times; None means 10 Hz.

    Raises:
        SequenceError: the folder has none of the three layouts, lacks a part, or has times and
            `rate_hz` is given, too.
        CalibrationError: the calibration that all frames share is missing or damaged.
    """
    if (folder / 'image_02').is_dir():
        if any(re.fullmatch('[0-9]{4}', path.name) for path in (folder / 'image_02').iterdir()):
            raise SequenceError(
                f'{folder} is of the tracking benchmark, which has no times; give a raw drive'
            )
        return _timed('raw drive', _raw_drive, folder, rate_hz)
    if any((folder / name).is_file() for name in ('times.txt', 'calib.txt')):
        return _timed('odometry sequence', _odometry_sequence, folder, rate_hz)
    # The archive unpacks to the parent folder of training and testing.
    inner = [path for path in (folder / 'training', folder / 'testing') if _has_road(path)]
    if not _has_road(folder) and len(inner) == 1:
        folder = inner[0]
    if not _has_road(folder):
        raise SequenceError(_no_sequence(folder))
    if _is_bare_sequence(folder):
        raise SequenceError(
            f'{folder} has neither times.txt and calib.txt (odometry sequence) nor a calib folder '
            '(road folder); unpack the calibration files there as well'
        )
    rate_hz = rate_hz or DEFAULT_ROAD_RATE_HZ
    return KittiSequence('road folder', list(_road_frames(folder, rate_hz)), one_size=False)


def parse_timestamp(text: str) -> int:
    """Return a raw drive's '2011-09-26 13:02:25.964389445', read as UTC, as ns since 1970.

    Raises:
        ValueError: the text is not such a time.
    """
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise ValueError(f"{text[:40]!r} is not a time such as '2011-09-26 13:02:25.964389445'")
    seconds = calendar.timegm(datetime.fromisoformat(match[1]).timetuple())
    return seconds * _NS + int(match[2].ljust(9, '0'))


def parse_seconds(text: str) -> int:
    """Return an odometry sequence's '1.037513e-01' (s) as ns, rounded from its exact value.

    Raises:
        ValueError: the text is not such a time.
    """
    try:
        # A float of seconds is only exact to the ns up to 2^53 ns, 104 days.
        seconds = Decimal(text)
        # Without a limit, an exponent could ask for a number of a billion digits.
        if 0 <= seconds < 10**12:
            return round(seconds * _NS)
    except InvalidOperation:
        pass
    raise ValueError(f"{text[:40]!r} is not a number of seconds such as '1.037513e-01'")


def _timed(
    kind: str,
    read: Callable[[Path], tuple[Path, Sequence[int | str], Camera]],
    folder: Path,
    rate_hz: float | None,
) -> KittiSequence:
    """Join images and stamps by number: line n of the times belongs to image n."""
    if rate_hz is not None:
        raise SequenceError(f'{folder} is a {kind}, which has its own times; omit the rate')
    images, stamps, camera = read(folder)
    paths = _numbered(images)
    frames = []
    for number in sorted({*paths, *range(len(stamps))}):
        path = paths.get(number)
        stamp = stamps[number] if number < len(stamps) else 'has no time'
        problem = stamp if isinstance(stamp, str) else ''
        if path is None:
            problem, path = 'has no image', images / f'{number}'
        stamp_ns = stamp if isinstance(stamp, int) else 0
        frames.append(KittiFrame(number, path, stamp_ns, camera, problem))
    return KittiSequence(kind, frames, one_size=True)


def _raw_drive(folder: Path) -> tuple[Path, Sequence[int | str], Camera]:
    # KITTI puts the calibration beside the drives of a day; some users copy it into the drive.
    # For a link, its own folder comes before that of the drive.
    drive, real = Path(os.path.abspath(folder)), folder.resolve()
    places = (drive.parent, drive, real.parent)
    file = next((p / RAW_CALIBRATION for p in places if (p / RAW_CALIBRATION).is_file()), None)
    if file is None:
        raise SequenceError(
            f'{folder} has no {RAW_CALIBRATION} beside it; '
            "unpack the calibration of the drive's day there"
        )
    stamps = _stamps(folder / 'image_02' / 'timestamps.txt', parse_timestamp)
    camera = _in_file(file, lambda numbers: _raw_camera(numbers, (drive.name, real.name)))
    return folder / 'image_02' / 'data', stamps, camera


def _odometry_sequence(folder: Path) -> tuple[Path, Sequence[int | str], Camera]:
    stamps = _stamps(folder / 'times.txt', parse_seconds)
    return folder / 'image_2', stamps, _in_file(folder / 'calib.txt', _rectified_camera)


def _road_frames(folder: Path, rate_hz: float) -> Iterator[KittiFrame]:
    for number, path in enumerate(_images(folder / 'image_2')):
        file = folder / 'calib' / f'{path.stem}.txt'
        camera, problem = None, ''
        if file.is_file():
            try:
                camera = _in_file(file, _rectified_camera)
            except CalibrationError as error:
                problem = f'has no calibration: {error}'
        # From the number, so that rounding errors do not add up. Up to frame 19,000 the result of
        # floats equals that of exact fractions; the benchmark has at most 290 frames.
        yield KittiFrame(number, path, round(number * _NS / rate_hz), camera, problem)


def _raw_camera(numbers: dict[str, np.ndarray], names: Sequence[str]) -> Camera:
    """Return camera 2 of a raw drive: unrectified if a name is `..._extract`, else rectified."""
    if not any(name.endswith('_extract') for name in names):
        rectified = _rectified_camera(numbers, 'P_rect_02')
        size = _size(numbers, 'S_rect_02')
        return Camera(rectified.k, rectified.d, rectified.r, rectified.p, size)
    return Camera(
        k=matrix(numbers, 'K_02', (3, 3)),
        d=matrix(numbers, 'D_02', (1, 5))[0],
        r=matrix(numbers, 'R_rect_02', (3, 3)),
        p=matrix(numbers, 'P_rect_02', (3, 4)),
        frame_wh=_size(numbers, 'S_02'),
    )


def _rectified_camera(numbers: dict[str, np.ndarray], key: str = 'P2') -> Camera:
    """Return a camera whose frames are already rectified."""
    p = matrix(numbers, key, (3, 4))
    return Camera(k=p[:, :3], d=np.zeros(5), r=np.eye(3), p=p)


def _size(numbers: dict[str, np.ndarray], key: str) -> tuple[int, int]:
    w, h = matrix(numbers, key, (1, 2))[0]
    return int(w), int(h)


def _in_file(file: Path, camera: Callable[[dict[str, np.ndarray]], Camera]) -> Camera:
    numbers = read_calibration(file)
    try:
        return camera(numbers)
    except CalibrationError as error:
        raise CalibrationError(f'{file}: {error}') from error


def _stamps(file: Path, parse: Callable[[str], int]) -> list[int | str]:
    """Return the stamp (ns) of each line, or its problem as text."""
    try:
        # Editors add blank lines at the end.
        lines = file.read_text(encoding='ascii').rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SequenceError(
            f'{file} cannot be read ({error}); it must contain the time of each frame'
        ) from error
    stamps: list[int | str] = []
    for line in lines:
        try:
            stamps.append(parse(line.strip()) if line.strip() else 'has no time')
        except ValueError as error:
            stamps.append(f'has no time: {error}')
    return stamps


def _numbered(folder: Path) -> dict[int, Path]:
    paths: dict[int, Path] = {}
    for path in _images(folder):
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise SequenceError(f'{path} is not named by a number; move it elsewhere')
        other = paths.setdefault(int(path.stem), path)
        if other != path:
            raise SequenceError(
                f'{path} and {other.name} have the same number; remove one of them'
            )
    return paths


def _images(folder: Path) -> list[Path]:
    """Return what `find_images` finds; its errors become SequenceErrors."""
    if not folder.is_dir():
        raise SequenceError(
            f'{folder} does not exist; unpack the images of the left colour camera there'
        )
    try:
        return find_images(folder)
    except DatasetError as error:
        raise SequenceError(str(error)) from error


def _has_road(folder: Path) -> bool:
    return (folder / 'image_2').is_dir()


def _is_bare_sequence(folder: Path) -> bool:
    """Return whether a folder has the images of an odometry sequence and nothing else.

    Their names are plain numbers; those of the road benchmark begin with um_, umm_ or uu_.
    """
    has_calibration = (folder / 'calib').is_dir()
    return not has_calibration and all(p.stem.isdigit() for p in _images(folder / 'image_2'))


def _no_sequence(folder: Path) -> str:
    if not folder.is_dir():
        return f'{folder} is not a folder'
    inside = sorted(p.parent.name for p in folder.glob('*/image_0*2'))
    inside += sorted(p.parent.name for p in folder.glob('*/image_2'))
    if inside:
        return f'{folder} contains several sequences; give one of {", ".join(inside)}'
    return (
        f'{folder} has no KITTI layout: a raw drive contains image_02/data, an odometry sequence '
        'image_2 and times.txt, a road folder image_2'
    )
