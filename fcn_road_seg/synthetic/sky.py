"""The background above the ground: sky, clouds and hills."""

import cv2
import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.canvas import Canvas
from fcn_road_seg.synthetic.texture import blend, fractal
from fcn_road_seg.synthetic.world import World

MARGIN_RAD = 0.6  # extent of the panorama to each side of the frame before it repeats


class Sky:
    """A panorama of all headings; a frame shows a part of it."""

    def __init__(
        self, world: World, rng: Generator, frame_hw: tuple[int, int], focal: float
    ) -> None:
        self._below = frame_hw[0] // 12 + 2  # rows below the horizon, for the camera's bounce
        rows = int(world.horizon * frame_hw[0]) + 2 * self._below
        columns = frame_hw[1] + 2 * int(MARGIN_RAD * focal)
        self._panorama = _draw_panorama(world, rng, (rows, columns), rows - self._below, focal)

    def paint(self, canvas: Canvas) -> None:
        """Paint the rows of the frame that show no ground."""
        camera, width = canvas.camera, canvas.frame.shape[1]
        rows, columns = self._panorama.shape[:2]
        left = int((columns - width) / 2 + camera.focal * camera.heading)
        top = rows - self._below - int(camera.horizon)
        shown = self._panorama[top : top + camera.first_row]
        canvas.frame[: camera.first_row] = shown.take(
            np.arange(left, left + width) % columns, axis=1
        )


def _draw_panorama(
    world: World, rng: Generator, size: tuple[int, int], horizon: int, focal: float
) -> np.ndarray:
    """Return sky and hills, `size` + (3,) uint8 BGR, with the horizon at row `horizon`."""
    rows, columns = size
    haze = np.array(world.weather.haze, np.float32)
    zenith = np.array(world.weather.zenith, np.float32)
    up = np.clip(1 - np.arange(rows, dtype=np.float32) / horizon, 0, 1)[:, None, None]
    sky = np.repeat(haze + (zenith - haze) * up**0.6, columns, axis=1)
    clouds = fractal(rng, size, (3, 6, 12, 24, 48))
    share = np.clip((clouds + world.clouds) * 1.2, 0, 1) * np.minimum(up * 3, 1)[..., 0] * 0.8
    blend(sky, haze * (1.05 - 0.25 * np.clip(clouds, 0, 1))[..., None], share)
    for distance in (0.8, 0.45, 0.15):
        outline = np.clip(1 + 0.5 * fractal(rng, (2, columns), (4, 12, 48, 200), 0.55)[0], 0.1, 3)
        crest = horizon - focal * rng.uniform(0.01, 0.06) * outline
        top = max(int(crest.min()), 0)
        colour = np.array([50, 70, 60], np.float32) * np.float32(rng.uniform(0.7, 1.3))
        leaves = 1 + 0.15 * (1 - distance) * fractal(rng, (rows - top, columns), (16, 64, 128))
        hills = colour * leaves[..., None] * (1 - distance) + haze * distance
        blend(sky[top:], hills, np.arange(top, rows)[:, None] > crest)
    return cv2.convertScaleAbs(sky)
