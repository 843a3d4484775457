"""The ground as the camera sees it: the texture in perspective, with light and shadows."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.canvas import Camera, Canvas
from fcn_road_seg.synthetic.solids import SHAPES
from fcn_road_seg.synthetic.surface import PERIOD_M, draw_ground
from fcn_road_seg.synthetic.texture import fractal, shrink
from fcn_road_seg.synthetic.world import Placed, Thing, World

LIGHT_UNIT = 160  # byte value of light 1, with room for brighter light

Polygon = list[tuple[float, float]]


class Ground:
    """The ground as a texture (BGR and share of road), with reduced copies for distant rows."""

    def __init__(self, world: World, rng: Generator, focal: float) -> None:
        self._per_m = np.array([24.0, 48.0]) * (0.9 if focal > 350 else 0.5)  # texels along s, d
        self._plain = 4.0  # metres at both borders, mirrored to fill what lies beyond
        kerb = max(world.kerb_m(-1), world.kerb_m(1))
        self._reach = kerb + world.walk_width + 2 * self._plain
        self._focal, self._height = focal, world.camera_height
        rows, columns = int(PERIOD_M * self._per_m[0]), int(2 * self._reach * self._per_m[1])
        d = ((np.arange(columns) + 0.5) / self._per_m[1] - self._reach).astype(np.float32)
        texture = draw_ground(world, rng, rows, d, self._per_m)
        self._mips = [self._reduced(texture, level) for level in range(8)]
        self._blotches = fractal(rng, (256, 256), (8, 32, 64)) * np.float32(0.03) + 1
        self._grain = fractal(rng, (256, 256), (64, 256)) * np.float32(0.08)

    def paint(self, canvas: Canvas, things: list[Placed]) -> None:
        """Paint the lit ground into the frame and the road into the label."""
        camera, (height, width) = canvas.camera, canvas.label.shape
        first = camera.first_row
        z = camera.focal * camera.height / (np.arange(first, height) - camera.horizon)
        across = (np.arange(width) - width / 2) / camera.focal
        texels = np.empty((len(z), width, 4), np.uint8)
        levels = self._levels(z)
        cuts = np.flatnonzero(np.diff(levels)) + 1
        for top, bottom in pairwise([0, *cuts.tolist(), len(z)]):
            texels[top:bottom] = self._sample(camera, z[top:bottom], across, int(levels[top]))
        clear = canvas.clear(z)[:, None]
        light = self._light(canvas, things, z, across) * (clear * LIGHT_UNIT).astype(np.float32)
        light = cv2.cvtColor(cv2.convertScaleAbs(light), cv2.COLOR_GRAY2BGR)
        bgr = cv2.multiply(cv2.cvtColor(texels, cv2.COLOR_BGRA2BGR), light, scale=1 / LIGHT_UNIT)
        haze = ((1 - clear) * canvas.world.weather.haze).astype(np.uint8)
        canvas.frame[first:] = cv2.add(bgr, np.repeat(haze[:, None], width, axis=1))
        canvas.label[first:] = texels[..., 3] >= 128

    def is_road(self, camera: Camera, ahead_m: np.ndarray, right_m: np.ndarray) -> np.ndarray:
        """Return whether points, (...) metres ahead and to the right of the camera, are road."""
        level = self._mips[0]
        per_m = self._per_m / 2.0 ** np.array([0, self._across(0)])
        d = right_m - camera.centre(ahead_m)
        row = (camera.s + ahead_m) % PERIOD_M * per_m[0] + 0.5
        column = ((d + self._reach) * per_m[1] - 0.5).clip(0, level.shape[1] - 1)
        covered: np.ndarray = level[row.round().astype(int), column.round().astype(int), 3] >= 128
        return covered

    def _levels(self, z: np.ndarray) -> np.ndarray:
        along = np.log2(z**2 / (self._focal * self._height) * self._per_m[0])
        levels: np.ndarray = np.clip(along, 0, 7).astype(int)
        return levels

    def _across(self, level: int) -> int:
        # Perspective compresses s with the square of the distance, d only with the distance.
        nearest = np.sqrt(2.0**level * self._focal * self._height / self._per_m[0])
        return int(np.clip(np.log2(nearest / self._focal * self._per_m[1]), 0, 3))

    def _reduced(self, texture: np.ndarray, level: int) -> np.ndarray:
        image = shrink(texture, level, self._across(level))
        # One more row at both ends, so that sampling interpolates across the seam.
        return np.concatenate([image[-1:], image, image[:1]])

    def _sample(self, camera: Camera, z: np.ndarray, across: np.ndarray, level: int) -> np.ndarray:
        d = z[:, None] * across - camera.centre(z)[:, None]
        # The first row is the farthest and covers the largest width.
        if np.abs(d[0, [0, -1]]).max() > self._reach:
            over = np.maximum(np.abs(d) - self._reach, 0)
            fold = self._plain - np.abs(over % (2 * self._plain) - self._plain)
            d = np.where(over > 0, np.sign(d) * (self._reach - fold), d)
        per_m = self._per_m / 2.0 ** np.array([level, self._across(level)])
        x = ((d + self._reach) * per_m[1] - 0.5).astype(np.float32)
        y = _as_columns((camera.s + z) % PERIOD_M * per_m[0] + 0.5, len(across))
        return cv2.remap(self._mips[level], x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)

    def _light(
        self, canvas: Canvas, things: list[Placed], z: np.ndarray, across: np.ndarray
    ) -> np.ndarray:
        """Return the light on the pixels of the ground, (rows, W) float32 around 1."""
        camera, (rows, columns) = canvas.camera, (len(z), len(across))
        # Shadows are soft, so computing them for a quarter of the pixels is enough.
        x = z[::2, None] * across[::2] - camera.centre(z[::2])[:, None]
        y = _as_columns((camera.s + z[::2]) % 80 * (256 / 80), x.shape[1])
        light = _wrapped(self._blotches, x * (256 / 40), y)
        light *= 1 - _shadows(camera, canvas.world, things, x.shape)
        light = cv2.resize(light, (columns, rows))
        near = z < 14
        if near.any():
            x = (z[near, None] * across - camera.centre(z[near])[:, None]) * 60
            y = _as_columns((camera.s + z[near]) * 40 % 256, columns)
            fade = np.clip(1.4 - z[near, None] / 10, 0, 1).astype(np.float32)
            light[near] = light[near] * (1 + _wrapped(self._grain, x, y) * fade)
        return light


def _shadows(
    camera: Camera, world: World, things: list[Placed], size: tuple[int, ...]
) -> np.ndarray:
    """Return the share of light that shadows take, for every second row and column, float32."""
    shadows: list[tuple[Polygon, int]] = []
    if world.weather.sun:
        depth = int(255 * world.weather.sun)
        near = [(z, thing) for z, thing in things if z < 90]
        shadows += [(area, depth) for z, thing in near for area in _cast(thing, z, world)]
    shadows += [(_below(thing, z), 190) for z, thing in things if thing.kind in SHAPES]
    mask = np.zeros(size, np.uint8)
    if shadows:
        corners = np.array([(z, d, 0.0) for area, _ in shadows for z, d in area])
        sizes = [len(area) for area, _ in shadows]
        outlines = camera.outlines(corners, sizes, camera.first_row, 0.5)
        for outline, (_, depth) in zip(outlines, shadows, strict=True):
            cv2.fillPoly(mask, [outline], depth, cv2.LINE_8, 4)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(size[0] / 65, 0.5))
    return blurred.astype(np.float32) / 255


def _below(vehicle: Thing, z: float) -> Polygon:
    half, d = SHAPES[vehicle.kind].width / 2 + 0.1, vehicle.d
    near, far = z - 0.15, z + vehicle.length + 0.3
    return [(near, d - half), (near, d + half), (far, d + half), (far, d - half)]


def _cast(thing: Thing, z: float, world: World) -> list[Polygon]:
    """Return the outlines of a thing's shadows on the ground, as (metres ahead, d)."""
    d, end = thing.d, z + thing.length
    along, across = thing.height * world.sun[0], thing.height * world.sun[1]
    if thing.kind in SHAPES:
        base = np.array(_below(thing, z))
        shifted = np.add(base, (0.8 * along, 0.8 * across))
        both = np.vstack([base, shifted]).astype(np.float32)
        return [cv2.convexHull(both)[:, 0].tolist()]
    if thing.length:
        return [[(z, d), (end, d), (end + along, d + across), (z + along, d + across)]]
    tip, side = (z + 0.9 * along, d + 0.9 * across), 0.07
    stem = [(z, d - side), (z, d + side), (tip[0], tip[1] + side), (tip[0], tip[1] - side)]
    if thing.kind != 'tree':
        return [stem]
    crown = []
    turn, size = np.linspace(0, 2 * np.pi, 11)[:-1], thing.height * 0.16
    for k, dz, dd in ((0.5, 0, 0.05), (0.62, 0.12, -0.08), (0.75, -0.1, 0), (0.9, 0.05, 0.1)):
        spot = (z + along * k + dz * thing.height, d + across * k + dd * thing.height)
        crown.append([(spot[0] + size * np.cos(a), spot[1] + size * np.sin(a)) for a in turn])
    return [stem, *crown]


def _as_columns(rows: np.ndarray, columns: int) -> np.ndarray:
    return np.repeat(rows.astype(np.float32)[:, None], columns, axis=1)


def _wrapped(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(tile, x.astype(np.float32), y, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
