"""KITTI calibration files, and the camera's view of the road plane that they describe."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np


class CalibrationError(ValueError):
    """A calibration file is unreadable, or a value is missing or invalid; its text is one line."""


def read_calibration(path: str | Path) -> dict[str, np.ndarray]:
    """Return the numbers of a KITTI calibration file: a float64 vector (N,) for each key.

    A line is `key: number number ...`, as in the road and object benchmarks' `calib/*.txt` and
    the raw drives' `calib_cam_to_cam.txt`. Keys with text for a value (`calib_time`) and
    blank lines are skipped.

    Raises:
        CalibrationError: the file is missing or not text, or a line has no key or no value,
            repeats a key, mixes numbers with text, or has a number that is not finite; the text
            names the file and the line.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise CalibrationError(
            f'{path} cannot be read ({error.strerror}); give a KITTI calibration file'
        ) from error
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f'{path} is not text (byte {error.start}); give a KITTI calibration file'
        ) from error
    calibration: dict[str, np.ndarray] = {}
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            key, values = _entry(line)
            if key in seen:
                raise CalibrationError(f'{key!r} occurs twice; remove one of the lines')
        except CalibrationError as error:
            raise CalibrationError(f'{path}, line {number}: {error}') from error
        seen.add(key)
        if values is not None:
            calibration[key] = values
    return calibration


def matrix(calibration: dict[str, np.ndarray], key: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the vector of `key` as a float64 matrix of `shape` (rows, columns), row-major.

    Raises:
        CalibrationError: the key is missing, or has a wrong number of values.
    """
    rows, columns = shape
    if key not in calibration:
        raise CalibrationError(
            f'calibration has no {key} ({rows} x {columns} numbers); '
            f'its keys: {", ".join(calibration) or "none"}'
        )
    vector = calibration[key]
    if vector.size != rows * columns:
        raise CalibrationError(
            f'calibration key {key} has {vector.size} numbers; '
            f'a {rows} x {columns} matrix needs {rows * columns}'
        )
    return vector.reshape(shape)


def road_to_image(calibration: dict[str, np.ndarray]) -> np.ndarray:
    """Return the (3, 3) float64 homography from the road plane to the left colour image.

    It maps (x, z, 1), in metres to the right and ahead on the plane y = 0 of the road frame, to
    (u * w, v * w, w), where u is the column, v the row, and w > 0 in front of the camera. It is
    `P2 * R0_rect * inv(Tr_cam_to_road)` without its second column, which belongs to y (Fritsch,
    Kuehnl, Geiger 2013, and the KITTI road development kit).

    Raises:
        CalibrationError: one of the three matrices is missing or has a wrong number of values,
            or the homography is not finite (`Tr_cam_to_road` is singular, for example).
    """
    projection = matrix(calibration, 'P2', (3, 4))
    rectification = _rigid(matrix(calibration, 'R0_rect', (3, 3)))
    cam_to_road = _rigid(matrix(calibration, 'Tr_cam_to_road', (3, 4)))
    # Because of rounding, inv returns huge numbers for many singular matrices, without an error.
    if np.linalg.matrix_rank(cam_to_road[:3, :3]) < 3:
        raise CalibrationError(
            'Tr_cam_to_road is singular; it must be a rotation and a translation'
        )
    with np.errstate(over='ignore', invalid='ignore'):
        homography = (projection @ rectification @ np.linalg.inv(cam_to_road))[:, [0, 2, 3]]
    if not np.isfinite(homography).all():
        raise CalibrationError('P2, R0_rect and Tr_cam_to_road overflow; check their numbers')
    return homography


def read_road_to_image(path: str | Path) -> np.ndarray:
    """Return `road_to_image` of a calibration file.

    Raises:
        CalibrationError: as `read_calibration` and `road_to_image`; the text names the file.
    """
    calibration = read_calibration(path)
    try:
        return road_to_image(calibration)
    except CalibrationError as error:
        raise CalibrationError(f'{path}: {error}') from error


def _entry(line: str) -> tuple[str, np.ndarray | None]:
    """Return the key and the numbers of a line; None instead of numbers if the value is text."""
    key, colon, value = (part.strip() for part in line.partition(':'))
    tokens = value.split()
    if not (key and colon and tokens):
        raise CalibrationError(f"{line.strip()[:40]!r} is not 'key: number number ...'")
    numbers = [_number(token) for token in tokens]
    if all(number is None for number in numbers):
        return key, None
    for token, number in zip(tokens, numbers, strict=True):
        if number is None or not math.isfinite(number):
            raise CalibrationError(f'{key!r} has {token[:40]!r} instead of a finite number')
    return key, np.array(numbers, np.float64)


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


def _rigid(upper: np.ndarray) -> np.ndarray:
    """Extend a (3, 3) rotation or (3, 4) rigid motion to (4, 4)."""
    extended = np.eye(4)
    extended[: upper.shape[0], : upper.shape[1]] = upper
    return extended
