"""The camera, which projects the world, and the canvas, on which upright things are painted."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fcn_road_seg.synthetic.world import Thing, World

NEAR_M, FAR_M = 0.5, 250.0


@dataclass(frozen=True)
class Camera:
    """The camera at one instant: `s`, `d`, `height` in metres, `focal` and `horizon` in pixels."""

    s: float
    d: float
    height: float
    focal: float
    horizon: float
    frame_hw: tuple[int, int]
    bends: np.ndarray  # (N, 3) as in World

    @cached_property
    def heading(self) -> float:
        """Return the road's direction at the camera in radians."""
        size, wave, phase = self.bends.T
        return float((size * wave * np.cos(wave * self.s + phase)).sum())

    @property
    def first_row(self) -> int:
        """Return the first row that shows ground less than FAR_M away."""
        return int(np.ceil(self.horizon + self.focal * self.height / FAR_M))

    def centre(self, z: np.ndarray) -> np.ndarray:
        """Return how far right of the camera the centre line is, in metres, `z` metres ahead."""
        right = -self.heading * z - self.d
        for size, wave, phase in self.bends:
            right = right + size * (
                np.sin(wave * (self.s + z) + phase) - np.sin(wave * self.s + phase)
            )
        return right

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return (N, 2) pixels for (N, 3) points (metres ahead, d, height above the ground)."""
        z = np.maximum(points[:, 0], NEAR_M)
        u = self.frame_hw[1] / 2 + self.focal * (self.centre(z) + points[:, 1]) / z
        v = self.horizon + self.focal * (self.height - points[:, 2]) / z
        return np.stack([u, v], axis=1)

    def outlines(
        self, points: np.ndarray, sizes: list[int], top: int = 0, scale: float = 1.0
    ) -> list[np.ndarray]:
        """Return polygons of `sizes` corners in 1/16 pixels below row `top`, times `scale`.

        Projecting all polygons at once is much cheaper than projecting each.
        """
        uv = (self.project(points) - (0, top)) * (16 * scale)
        # The limits keep OpenCV's 16.16 fixed-point arithmetic from overflowing.
        fixed = uv.round().clip(-(1 << 18), 1 << 18).astype(np.int32)
        return [
            fixed[last - size : last] for size, last in zip(sizes, np.cumsum(sizes), strict=True)
        ]


@dataclass(frozen=True)
class Canvas:
    """A frame, (H, W, 3) uint8 BGR, and its label, (H, W) uint8, while they are painted."""

    frame: np.ndarray
    label: np.ndarray
    camera: Camera
    world: World

    def clear(self, z: float | np.ndarray) -> np.ndarray:
        """Return the share of light, in [0, 1], that passes through `z` metres of haze."""
        return np.exp(-self.world.haze * np.maximum(z, 0))

    def solid(self, thing: Thing, z: float) -> None:
        """Paint a thing with faces as background; its near end is `z` metres ahead."""
        mirror = -1 if self.camera.centre(np.array(z)) + thing.d > 0 else 1
        faces = [face for face in thing.faces if z < 45 or not face.detail]
        points = np.concatenate([face.points for face in faces]) * (1, mirror, 1)
        points += (z, thing.d, 0)
        points[:, 0] = points[:, 0].clip(0.8)  # things beside the camera leave the frame sideways
        outlines = self.camera.outlines(points, [len(face.points) for face in faces])
        clear = self.clear(z)
        haze = np.array(self.world.weather.haze) * (1 - clear)
        for face, corners in zip(faces, outlines, strict=True):
            colour = (face.colour * clear + haze).clip(0, 255).tolist()
            cv2.fillPoly(self.frame, [corners], colour, cv2.LINE_8, 4)
            cv2.fillPoly(self.label, [corners], 0, cv2.LINE_8, 4)

    def rectangle(
        self,
        mips: list[np.ndarray],
        start: tuple[float, float],
        end: tuple[float, float],
        height: float,
    ) -> None:
        """Paint an upright rectangle between two points (metres ahead, d), as background.

        `mips` are its picture, (h, w, 4) uint8 BGRA, and reduced copies of that (mipmaps).
        """
        near = max(start[0], 1.0)
        skipped = (near - start[0]) / max(end[0] - start[0], 1e-6)
        left = (near, start[1] + (end[1] - start[1]) * skipped)
        quad = self.camera.project(
            np.array([(*left, height), (*end, height), (*end, 0.0), (*left, 0.0)])
        )
        size_wh = self.label.shape[::-1]
        x0, y0 = np.clip(np.floor(quad.min(axis=0)), 0, size_wh).astype(int).tolist()
        x1, y1 = np.clip(np.ceil(quad.max(axis=0)) + 1, 0, size_wh).astype(int).tolist()
        if x1 <= x0 or y1 <= y0:
            return
        tall = max(quad[3, 1] - quad[0, 1], quad[2, 1] - quad[1, 1], 1.0)
        image = mips[int(np.clip(np.log2(mips[0].shape[0] / tall), 0, len(mips) - 1))]
        rows, columns = image.shape[:2]
        first = columns * skipped
        source = np.array([[first, 0], [columns, 0], [columns, rows], [first, rows]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, (quad - (x0, y0)).astype(np.float32))
        patch = cv2.warpPerspective(image, matrix, (x1 - x0, y1 - y0))
        _, mask = cv2.threshold(cv2.extractChannel(patch, 3), 127, 255, cv2.THRESH_BINARY)
        clear = float(self.clear(near))
        # If the shadow of a thing falls towards the road, its dark side faces the road.
        shaded = start[1] * self.world.sun[1] < 0
        tone = clear * (1 - 0.5 * self.world.weather.sun * shaded)
        bgr = cv2.convertScaleAbs(cv2.cvtColor(patch, cv2.COLOR_BGRA2BGR), alpha=tone)
        haze = np.array(self.world.weather.haze) * (1 - clear)
        bgr = cv2.add(bgr, np.full_like(bgr, haze.astype(np.uint8)))
        cv2.copyTo(bgr, mask, self.frame[y0:y1, x0:x1])
        # OpenCV saturates: 1 - 255 is 0.
        cv2.subtract(self.label[y0:y1, x0:x1], mask, self.label[y0:y1, x0:x1])
