"""Rendered driving scenes with exact road labels and a moving camera.

The texture of the ground, whose fourth channel is the share of road, is drawn once per seed. Each
frame samples it through the camera, so that frame and label have the same geometry. Upright things
are painted over the ground from far to near, and are background in the label.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.canvas import Camera, Canvas
from fcn_road_seg.synthetic.ground import Ground
from fcn_road_seg.synthetic.sky import Sky
from fcn_road_seg.synthetic.sprites import draw_sprites
from fcn_road_seg.synthetic.world import (
    SIGHT_M,
    Placed,
    Thing,
    draw_roadside,
    draw_side_ways,
    draw_traffic,
    draw_world,
)


class SyntheticDrive:
    """A drive along an endless road, which `seed` determines.

    A frame is a pure function of (seed, frame_hw, camera_height_m, t_s). If no height is given,
    the seed determines that, too. The constructor draws the textures, which takes as long as
    rendering about ten frames.

    Raises:
        ValueError: `frame_hw` is smaller than 16 x 16, or more than 8 times as wide as high.
    """

    def __init__(
        self,
        seed: int,
        frame_hw: tuple[int, int] = (375, 1242),
        camera_height_m: float | None = None,
    ) -> None:
        height, width = frame_hw
        # Such a frame may have no row below the horizon.
        if min(frame_hw) < 16 or width > 8 * height:
            raise ValueError(
                f'frames of {height}x{width} (H x W) cannot be rendered; use at least 16x16, '
                'and at most 8 times as wide as high'
            )
        rng = np.random.default_rng([seed, 1])
        self.world = draw_world(rng)
        if camera_height_m is not None:
            self.world = replace(self.world, camera_height=camera_height_m)
        # A separate generator: drives without side ways stay as they were before these were added.
        self.world = draw_side_ways(np.random.default_rng([seed, 3]), self.world)
        self.things = (*draw_roadside(rng, self.world), *draw_traffic(rng, self.world))
        self._hw = frame_hw
        self._focal = frame_hw[1] / 2 / np.tan(self.world.field_of_view / 2)
        rng = np.random.default_rng([seed, 2])
        self._ground = Ground(self.world, rng, self._focal)
        self._sky = Sky(self.world, rng, frame_hw, self._focal)
        self._sprites = draw_sprites(rng)
        self._noise = _sensor_noise(rng, frame_hw, self.world.noise)
        self._vignette = _vignette(frame_hw, self.world.vignette)

    def render(self, t_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return frame_bgr (H, W, 3) uint8 and label (H, W) uint8, 1 = road, at `t_s` seconds."""
        camera = self.camera(t_s)
        frame = np.empty((*self._hw, 3), np.uint8)
        canvas = Canvas(frame, np.zeros(self._hw, np.uint8), camera, self.world)
        placed = [(thing.ahead(camera.s, t_s), thing) for thing in self.things]
        visible = [(z, thing) for z, thing in placed if z < SIGHT_M]
        self._sky.paint(canvas)
        self._ground.paint(canvas, visible)
        for z, thing in sorted(visible, key=_paint_order):
            if z + thing.length > 1.5:
                self._paint_thing(canvas, thing, z)
        if self.world.bonnet:
            _paint_bonnet(canvas)
        return self._develop(frame, t_s), canvas.label

    def camera(self, t_s: float) -> Camera:
        """Return the camera at `t_s` seconds."""
        world = self.world
        bounce = 0.0015 * np.sin(7.1 * t_s) + 0.001 * np.sin(11.3 * t_s + 1)
        return Camera(
            s=world.speed * t_s + 2.0 * np.sin(0.4 * t_s),
            d=world.lane_d(world.ego_lane) + 0.15 * np.sin(0.5 * t_s),
            height=world.camera_height,
            focal=self._focal,
            horizon=world.horizon * self._hw[0] + bounce * self._focal,
            frame_hw=self._hw,
            bends=world.bends,
        )

    def is_road(self, t_s: float, ahead_m: np.ndarray, right_m: np.ndarray) -> np.ndarray:
        """Return whether points of the ground are road at `t_s` seconds, whatever stands on them.

        The points are (...) metres ahead of and to the right of the camera, which looks
        horizontally along the road: its pixel (u, v) shows the point that is
        `focal` * `height` / (v - `horizon`) metres ahead.
        """
        return self._ground.is_road(self.camera(t_s), ahead_m, right_m)

    def _paint_thing(self, canvas: Canvas, thing: Thing, z: float) -> None:
        if thing.faces:
            canvas.solid(thing, z)
            return
        variants = self._sprites[thing.kind]
        mips = variants[thing.variant % len(variants)]
        d = thing.d
        if not thing.length:
            half = thing.height * mips[0].shape[1] / mips[0].shape[0] / 2
            canvas.rectangle(mips, (z, d - half), (z, d + half), thing.height)
            return
        canvas.rectangle(mips, (z, d), (z + thing.length, d), thing.height)
        if thing.kind == 'building' and z > 1.0:
            canvas.rectangle(mips, (z, d), (z, d + np.sign(d) * 12), thing.height)

    def _develop(self, frame: np.ndarray, t_s: float) -> np.ndarray:
        """Return the frame as a camera records it: exposure, contrast, blur, vignette, noise."""
        world, (height, width) = self.world, self._hw
        gain = world.gain * (1 + 0.05 * np.sin(0.23 * t_s))
        curve = np.linspace(0, 1, 256)[:, None] ** world.gamma * gain
        curve += world.contrast * (curve - 0.45) * (1 - np.abs(2 * curve - 1)).clip(0)
        frame = cv2.LUT(frame, (curve * 255).clip(0, 255).astype(np.uint8)[None])
        frame = cv2.GaussianBlur(frame, (0, 0), max(world.blur * height / 375, 0.35))
        frame = cv2.multiply(frame, self._vignette, scale=1 / 255)
        # Which noise is used depends only on the time: frames are reproducible in any order.
        top, left = round(t_s * 1000) * 7919 % 61, round(t_s * 1000) * 104729 % 59
        noise = self._noise[top : top + height, left : left + width]
        return cv2.add(frame, noise, dtype=cv2.CV_8U)


def _paint_order(placed: Placed) -> float:
    # Long things are farthest from the road, so whatever is beside them is in front of them.
    z, thing = placed
    return -z if thing.faces else -(z + thing.length)


def _paint_bonnet(canvas: Canvas) -> None:
    height, width = canvas.label.shape
    centre, axes = (width // 2, int(height * 1.06)), (int(width * 0.62), int(height * 0.16))
    for scale, grey in ((1.0, 45), (0.96, 60), (0.85, 52)):
        size = (int(axes[0] * scale), int(axes[1] * scale))
        cv2.ellipse(canvas.frame, centre, size, 0, 180, 360, (grey, grey, grey - 4), -1)
    cv2.ellipse(canvas.label, centre, axes, 0, 180, 360, 0, -1)


def _sensor_noise(rng: Generator, frame_hw: tuple[int, int], sigma: float) -> np.ndarray:
    tile = np.clip(rng.normal(0, sigma, (197, 211, 3)), -127, 127).astype(np.int8)
    return np.tile(tile, (frame_hw[0] // 197 + 2, frame_hw[1] // 211 + 2, 1))


def _vignette(frame_hw: tuple[int, int], strength: float) -> np.ndarray:
    y, x = (np.linspace(-1, 1, n) for n in frame_hw)
    fall = 1 - strength * (x**2 + y[:, None] ** 2) / 2
    return np.repeat((fall * 255).astype(np.uint8)[..., None], 3, axis=2)
