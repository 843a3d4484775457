"""One period of the ground, a picture with its label: road, kerbs, shoulders, wear, markings."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.side_way import SideWay, mark_side_way
from fcn_road_seg.synthetic.texture import blend, cover, fractal, span
from fcn_road_seg.synthetic.world import Colour, World

PERIOD_M = 64.0  # the picture repeats along the road
KERB_M = 0.28


class Surface(NamedTuple):
    """A material: BGR colour, 0..255, and the relative contrast of its patches and grain."""

    colour: Colour
    coarse: float
    fine: float


SURFACES = {
    'asphalt': Surface((100, 100, 100), 0.025, 0.06),
    'grass': Surface((45, 95, 75), 0.2, 0.25),
    'dry grass': Surface((80, 130, 140), 0.15, 0.2),
    'gravel': Surface((125, 138, 145), 0.1, 0.25),
    'soil': Surface((75, 100, 125), 0.14, 0.14),
    'paving': Surface((140, 145, 150), 0.04, 0.05),
    'red paving': Surface((95, 100, 150), 0.04, 0.06),
    'concrete': Surface((150, 152, 150), 0.05, 0.05),
}


def draw_ground(
    world: World, rng: Generator, rows: int, d: np.ndarray, per_m: np.ndarray
) -> np.ndarray:
    """Return one period of ground as (rows, len(d), 4) uint8: BGR and 255 * share of road.

    `d` (N,) float32 is the position of each column in metres to the right of the centre line,
    `per_m` (2,) the texels per metre along and across the road.
    """
    half = world.half_road
    ground = np.empty((rows, len(d), 3), np.float32)
    road = np.zeros((rows, len(d)), np.float32)
    inside = span(np.abs(d) < half + 1)
    road[:, inside] = 1
    for side, shoulder in zip((-1, 1), world.shoulders, strict=True):
        out, walk = side * d, world.kerb_m(side) + world.walk_width
        wobble = fractal(rng, (rows, 2), (16, 64, 256), 0.6)[:, :1]
        wobble *= 0.0 if world.kerbs else 0.1
        ground[:, out >= 0] = _surface(rng, world.outer, (rows, int((out >= 0).sum())), world)
        part = span((out > half - 1) & (out < walk + 1))
        strip, out = ground[:, part], out[part]
        shoulder_tone = _surface(rng, shoulder, (rows, out.size), world)
        blend(strip, shoulder_tone, cover(walk + 3 * wobble - out, per_m[1]))
        way = world.side_way(side)
        kerb_at = world.kerb_m(side) if way is not None and way.adjoins_road else half
        if world.kerbs:
            kerb = np.full(3, rng.uniform(90, 190))
            blend(strip, kerb, cover(kerb_at + KERB_M - out, per_m[1]))
            blend(strip, kerb * 0.6, cover(kerb_at + 0.1 - out, per_m[1]))
        if way is not None:
            _draw_side_way(strip, way, world, rng, out - half, per_m)
        road[:, part] = np.minimum(road[:, part], cover(half + wobble - out, per_m[1]))
    blend(ground[:, inside], _draw_asphalt(world, rng, rows, d[inside], per_m), road[:, inside])
    return np.dstack([cv2.convertScaleAbs(ground), cv2.convertScaleAbs(road, alpha=255)])


def _draw_side_way(
    strip: np.ndarray,
    way: SideWay,
    world: World,
    rng: Generator,
    out: np.ndarray,
    per_m: np.ndarray,
) -> None:
    """Draw a way and its verge onto `strip` in place, `out` (N,) metres from the road's edge."""
    if not way.adjoins_road:
        verge = _surface(rng, way.verge_surface, strip.shape[:2], world)
        kerb = KERB_M if world.kerbs else 0.0
        blend(strip, verge, cover(np.minimum(out - kerb, way.verge_m - out), per_m[1]))
    inside = cover(np.minimum(out - way.verge_m, way.total_m - out), per_m[1])
    blend(strip, way.tone * _surface(rng, way.surface, strip.shape[:2], world), inside)
    mark_side_way(strip, way, rng, out - way.verge_m, per_m)


def _draw_asphalt(
    world: World, rng: Generator, rows: int, d: np.ndarray, per_m: np.ndarray
) -> np.ndarray:
    """Return the surface of the road with wear and markings, (rows, len(d), 3) float32 BGR."""
    tone = _surface(rng, 'asphalt', (rows, len(d)), world)
    lane = (d + world.half_road) / world.lane_width % 1
    tracks = np.exp(-(((np.abs(lane - 0.5) - 0.25) / 0.1) ** 2))
    tone *= (1 + rng.uniform(-0.12, 0.08) * tracks)[:, None]
    patches, lines = np.zeros((2, rows, len(d)), np.uint8)

    def pixels(at: np.ndarray) -> np.ndarray:
        swapped: np.ndarray = ((at - (0, d[0])) * per_m)[..., ::-1].astype(int)
        return swapped

    def places(mean: float) -> np.ndarray:
        return rng.uniform((0, d[0]), (PERIOD_M, d[-1]), (int(rng.poisson(mean)), 2))

    for at in places(5 * world.wear):
        first, last = pixels(np.array([at, at + rng.uniform(0.4, (6, 2.5))])).tolist()
        cv2.rectangle(patches, first, last, int(rng.integers(30, 110)), -1)
    for at in places(14 * world.wear):
        spread = (1.2, 0.25) if rng.random() < 0.6 else (0.15, 0.8)
        crack = pixels(at + rng.normal(0, spread, (12, 2)).cumsum(axis=0))
        cv2.polylines(lines, [crack], False, int(rng.integers(80, 200)), int(rng.integers(1, 4)))
    for manhole in places(1.5):
        centre, radii = pixels(manhole).tolist(), (int(0.35 * per_m[1]), int(0.35 * per_m[0]))
        cv2.ellipse(lines, centre, radii, 0, 0, 360, int(rng.integers(60, 140)), -1)
    tone *= 1 - rng.choice([-0.6, 1.0]) * patches[..., None] * np.float32(0.003)
    tone *= 1 - lines[..., None] * np.float32(0.0025)
    _draw_marks(tone, world, rng, d, per_m)
    return tone


def _draw_marks(
    tone: np.ndarray, world: World, rng: Generator, d: np.ndarray, per_m: np.ndarray
) -> None:
    style = rng.random()
    if style < 0.2:
        return
    white = np.full(3, rng.uniform(150, 250))
    middle = np.array([60.0, 170, 210]) if rng.random() < 0.35 else white
    s = (np.arange(len(tone), dtype=np.float32) + 0.5) / per_m[0]
    # A whole number of dashes, so that they continue across the seam.
    cycle, share = PERIOD_M / rng.choice([4, 6, 8, 12]), rng.uniform(0.3, 0.6)
    dashed = cover(share * cycle / 2 - np.abs(s % cycle - cycle / 2), per_m[0])
    solid = np.ones_like(s)
    width = rng.uniform(0.09, 0.2)
    worn = 1.2 - 0.9 * world.wear * np.abs(fractal(rng, tone.shape[:2], (64, 256, 512)))
    worn = worn.clip(0.1, 0.95)

    def line(x: float, along: np.ndarray, colour: np.ndarray) -> None:
        part = span(np.abs(d - x) < width)
        across = cover(width / 2 - np.abs(d[part] - x), per_m[1])
        blend(tone[:, part], colour, along[:, None] * across * worn[:, part])

    for i in range(1, world.lanes):
        x = world.traffic_side * (i * world.lane_width - world.half_road)
        if world.one_way or i != world.lanes // 2:
            line(x, dashed, white)
        elif rng.random() < 0.5:
            line(x, dashed, middle)
        else:
            for offset in (-width, width) if rng.random() < 0.5 else (0.0,):
                line(x + offset, solid, middle)
    if style < 0.65:
        inset = rng.uniform(0.15, 0.5)
        for side in (-1, 1):
            line(side * (world.half_road - inset), solid, white)
    if style > 0.85 and world.kerbs:
        zebra = cover(0.25 - np.abs(d % 1 - 0.5), per_m[1]) * (np.abs(d) < world.half_road - 0.3)
        part = span(np.abs(s - 40) < rng.uniform(1.2, 2))
        blend(tone[part], white, zebra * worn[part])


def _surface(rng: Generator, kind: str, size: tuple[int, int], world: World) -> np.ndarray:
    """Return a ground surface as `size` + (3,) float32 BGR."""
    base, coarse, fine = SURFACES[kind]
    colour = world.asphalt if kind == 'asphalt' else np.array(base) * rng.uniform(0.7, 1.25)
    if kind not in ('asphalt', 'grass', 'dry grass'):
        # Low contrast to the asphalt is the hard case for a network.
        colour = world.asphalt * 1.08 + (colour - world.asphalt * 1.08) * world.shoulder_contrast
    tone = 1 + coarse * fractal(rng, size, (8, 32, 96))
    tone += fine * cv2.blur(rng.standard_normal(size, np.float32), (3, 2))
    if kind == 'paving':
        slab_s, slab_d = rng.integers(10, 40, 2)
        tone[::slab_s] *= 0.8
        tone[:, ::slab_d] *= 0.8
    return tone[..., None] * colour.astype(np.float32)
