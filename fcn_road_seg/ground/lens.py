"""The distortion of a lens, on the plane one metre ahead, by OpenCV's models; and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np

from fcn_road_seg.ground.errors import MAX_NAME_CHARACTERS, GroundError

# For each model, by ROS's name, the numbers of coefficients that it may have.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
MAX_COEFFICIENTS = max(count for counts in COEFFICIENTS.values() for count in counts)
# No lens or sensor comes near it, and powers and products of such numbers do not overflow.
MAX_NUMBER = 1e9
# A point at 90 degrees is infinitely far from the axis.
_MAX_ANGLE_RAD = np.deg2rad(89.0)
_PROFILE_SAMPLES = 4096
_NEWTON_STEPS = 8
# About a millionth of a pixel.
_TOLERANCE = 1e-9
# cv2.projectPoints also makes a Jacobian of 300 bytes a point: with all points in one call, it
# takes 5 times as long.
_CHUNK = 8192


class Lens:
    """A distortion model with its coefficients; if all are 0, only `equidistant` distorts.

    It moves the points (x, y) of the plane z = 1 as OpenCV does: `plumb_bob` (k1 k2 p1 p2 k3) and
    `rational_polynomial` (k1 k2 p1 p2 k3 .. k6, and its thin prism and tilt) as cv2.projectPoints,
    `equidistant` (k1 .. k4) as cv2.fisheye.

    Raises:
        GroundError: the model is unknown, or has a wrong number of coefficients, or one of them is
            not finite or above MAX_NUMBER.
    """

    def __init__(self, model: str, coefficients: Sequence[float]) -> None:
        self._is_fisheye = model == 'equidistant'
        self._k = np.asarray(coefficients, np.float64)
        if self._k.any():
            _check(model, self._k)
        else:
            # Even if its coefficients are 0, a fisheye is not a pinhole.
            self._k = np.zeros(4 if self._is_fisheye else 0)
        self._is_distorted = bool(self._k.any()) or self._is_fisheye

    @cached_property
    def max_radius(self) -> float:
        """How far from the axis a point can be; one farther off would be folded back."""
        return float(self._profile[0][-1]) if self._is_distorted else np.inf

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the lens shows (x, y), both (...); NaN stays NaN."""
        if not self._is_distorted or not x.size:
            return x, y
        missing = np.isnan(x)
        flat = np.stack([np.where(missing, 0, x).ravel(), np.where(missing, 0, y).ravel()], axis=1)
        if self._is_fisheye:
            seen = cv2.fisheye.distortPoints(flat[:, None], np.eye(3), self._k)
        else:
            points = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
            parts = range(0, len(points), _CHUNK)
            seen = np.concatenate([self._project(points[i : i + _CHUNK]) for i in parts])
        x_seen, y_seen = seen.reshape(-1, 2).T
        return (
            np.where(missing, np.nan, x_seen.reshape(x.shape)),
            np.where(missing, np.nan, y_seen.reshape(x.shape)),
        )

    def undistort(self, x_seen: np.ndarray, y_seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the inverse of `distort`, NaN where there is none.

        It is found by Newton's method, which starts from the inverse of the radial part. The
        fixed-point iteration of cv2.undistortPoints diverges for wide lenses.
        """
        if not self._is_distorted:
            return x_seen, y_seen
        radius, seen = self._profile
        distance = np.hypot(x_seen, y_seen)
        start = np.interp(distance, seen, radius, right=np.nan)
        scale = np.where(distance > 0, start / np.where(distance > 0, distance, 1), 1)
        shape, target = x_seen.shape, np.stack([x_seen.ravel(), y_seen.ravel()])
        found = target * scale.ravel()
        off = np.stack(self.distort(*found)) - target
        for _ in range(_NEWTON_STEPS):
            (open_,) = np.nonzero(np.hypot(*off) > _TOLERANCE)
            if not len(open_):
                break
            found[:, open_] -= self._newton_step(found[:, open_], off[:, open_])
            off[:, open_] = np.stack(self.distort(*found[:, open_])) - target[:, open_]
        good = (np.hypot(*off) <= _TOLERANCE) & (np.hypot(*found) <= self.max_radius)
        x, y = np.where(good, found, np.nan)
        return x.reshape(shape), y.reshape(shape)

    def _newton_step(self, at: np.ndarray, off: np.ndarray) -> np.ndarray:
        """Return J^-1 `off`, (2, N), with J the distortion's Jacobian at `at`, (2, N)."""
        step = 1e-6
        seen = np.stack(self.distort(*at))
        by_x = (np.stack(self.distort(at[0] + step, at[1])) - seen) / step
        by_y = (np.stack(self.distort(at[0], at[1] + step)) - seen) / step
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            inverse = 1 / (by_x[0] * by_y[1] - by_y[0] * by_x[1])
            return inverse * np.stack(
                [by_y[1] * off[0] - by_y[0] * off[1], by_x[0] * off[1] - by_x[1] * off[0]]
            )

    @cached_property
    def _profile(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the centre, before and after the radial distortion, both increasing."""
        angle = np.linspace(0, _MAX_ANGLE_RAD, _PROFILE_SAMPLES)
        radius = np.tan(angle)
        if self._is_fisheye:
            powers = angle[:, None] ** np.arange(3, 10, 2)
            seen = angle + powers @ self._k
        else:
            k = np.zeros(8)
            k[: min(8, len(self._k))] = self._k[:8]
            powers = radius[:, None] ** (2, 4, 6)
            with np.errstate(divide='ignore', invalid='ignore'):
                seen = radius * (1 + powers @ k[[0, 1, 4]]) / (1 + powers @ k[5:8])
        # Where `seen` falls, or passes a pole, a sample is beyond what the lens can show.
        falls = ~(np.diff(seen) > 0)
        count = int(falls.argmax()) + 1 if falls.any() else _PROFILE_SAMPLES
        return radius[:count], seen[:count]

    def _project(self, points: np.ndarray) -> np.ndarray:
        none = np.zeros(3)
        return cv2.projectPoints(points, none, none, np.eye(3), self._k)[0]


def _check(model: str, k: np.ndarray) -> None:
    counts = COEFFICIENTS.get(model)
    if counts is None:
        raise GroundError(
            f'distortion model {model[:MAX_NAME_CHARACTERS]!r} is unknown; '
            f'use one of {", ".join(COEFFICIENTS)}'
        )
    if len(k) not in counts:
        raise GroundError(
            f'distortion model {model} has {len(k)} coefficients; '
            f'it needs {" or ".join(map(str, counts))}'
        )
    if not np.isfinite(k).all():
        raise GroundError(
            f'distortion coefficients {k.tolist()} are not all finite; calibrate the camera'
        )
    if abs(k).max() > MAX_NUMBER:
        raise GroundError(
            f'distortion coefficients {k.tolist()} are not within {-MAX_NUMBER:g} to '
            f'{MAX_NUMBER:g}; calibrate the camera'
        )
