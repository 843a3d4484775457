"""How a camera is mounted above flat ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcn_road_seg.ground.errors import GroundError

# The columns are the axes of the optical frame (right, down, ahead) in a frame with x ahead, y to
# the left and z up.
_OPTICAL_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Mounting:
    """The pose of a camera in the ground's frame: x ahead, y to the left, z up, in metres.

    The ground is the plane z = 0. `rotation` (3, 3) turns vectors of the optical frame into
    vectors of the ground's frame, and `position` (3,) is the camera's position there.

    Raises:
        GroundError: a number is not finite, or the camera is not above the ground.
    """

    rotation: np.ndarray
    position: np.ndarray

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rotation).all() and np.isfinite(self.position).all()):
            raise GroundError("the camera's pose is not finite; check the transform")
        if not self.position[2] > 0:
            raise GroundError(
                f'the camera is {self.position[2]:g} m above the ground; use a height above 0'
            )

    @classmethod
    def from_angles(cls, height_m: float, pitch_rad: float, roll_rad: float) -> Mounting:
        """Return a camera above the origin that looks along x.

        As in REP 103, a positive pitch looks down, and a positive roll lowers the right side:
        the rotation is Ry(pitch) Rx(roll) of a level camera.
        """
        cos, sin = np.cos([pitch_rad, roll_rad]), np.sin([pitch_rad, roll_rad])
        by_pitch = np.array([[cos[0], 0, sin[0]], [0, 1, 0], [-sin[0], 0, cos[0]]])
        by_roll = np.array([[1, 0, 0], [0, cos[1], -sin[1]], [0, sin[1], cos[1]]])
        return cls(by_pitch @ by_roll @ _OPTICAL_AXES, np.array([0.0, 0.0, height_m]))

    @classmethod
    def from_transform(
        cls, translation_xyz: Sequence[float], quaternion_xyzw: Sequence[float]
    ) -> Mounting:
        """Return the mounting given by tf's transform from the optical frame to the ground's.

        Raises:
            GroundError: the quaternion's length is 0; or as the class does.
        """
        quaternion = np.asarray(quaternion_xyzw, np.float64)
        length = np.linalg.norm(quaternion)
        if not length > 0:
            raise GroundError('the rotation of the transform is 0 0 0 0; check its publisher')
        x, y, z, w = quaternion / length
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.asarray(translation_xyz, np.float64))

    def to_camera(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the points (x, y, 0) of the ground as (..., 3) in the optical frame."""
        x, y = np.broadcast_arrays(x, y)
        points: np.ndarray = np.stack([x, y, np.zeros_like(x)], axis=-1) - self.position
        return points @ self.rotation

    def on_ground(self, rays: np.ndarray) -> np.ndarray:
        """Return where (..., 3) rays of the optical frame meet the ground, in the same frame.

        The result is (..., 3) in metres, and NaN for rays that do not go down.
        """
        down = -(rays @ self.rotation[2])
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            distance = np.where(down > 0, self.position[2] / down, np.nan)
            points: np.ndarray = rays * distance[..., None]
        return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)
