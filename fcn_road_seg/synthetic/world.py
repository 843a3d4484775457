"""The world that a seed determines: the road, all things on and beside it, and the light.

The ground is flat and addressed by (s, d): metres along the road and metres to the right of its
centre line. The world of a seed depends on the order in which random numbers are drawn.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.side_way import SideWay, draw_side_way
from fcn_road_seg.synthetic.solids import SHAPES, Face, lamp_faces, vehicle_faces

LOOP_M = 640.0  # the roadside repeats along the road
SIGHT_M = 200.0  # nothing farther ahead is shown; moving vehicles reappear after this distance

Colour = tuple[float, float, float]


class Theme(NamedTuple):
    """A kind of surroundings: typical distances in metres, probabilities, surfaces."""

    building_gap: float
    building_height: float
    set_back: float
    tree_gap: float
    kerbs: float
    barriers: tuple[str, ...]
    barrier_share: float
    outer: tuple[str, ...]


THEMES = {
    'urban': Theme(3, 20, 0.2, 40, 0.9, ('hedge', 'fence'), 0.2, ('paving', 'concrete', 'grass')),
    'suburban': Theme(
        14, 9, 5, 16, 0.7, ('hedge', 'wall', 'fence'), 0.5, ('grass', 'dry grass', 'concrete')
    ),
    'rural': Theme(70, 9, 14, 9, 0.0, ('rail', 'fence'), 0.25, ('grass', 'dry grass', 'soil')),
    'highway': Theme(120, 12, 20, 22, 0.0, ('rail',), 0.8, ('grass', 'dry grass', 'soil')),
}


class Weather(NamedTuple):
    """Light: shadow strength 0..1, shadow length per height, BGR colours 0..255, exposure."""

    sun: float
    reach: float
    haze: Colour
    zenith: Colour
    exposure: float


WEATHERS = (
    Weather(0.6, 1.2, (233, 225, 217), (205, 140, 80), 1.0),  # sunny
    Weather(0.0, 0.0, (205, 205, 205), (180, 172, 165), 0.85),  # overcast
    Weather(0.1, 2.0, (95, 120, 145), (90, 65, 55), 0.5),  # dusk
    Weather(0.6, 3.0, (190, 215, 240), (190, 150, 115), 0.85),  # low sun
)


@dataclass(frozen=True)
class World:
    """Road, camera and light of a drive, in metres, seconds and radians; colours BGR, 0..255."""

    theme: Theme
    weather: Weather
    camera_height: float
    horizon: float  # share of the frame's height
    field_of_view: float
    speed: float
    bends: np.ndarray  # (N, 3): amplitude, wave number, phase of the centre line
    traffic_side: int  # 1 = right-hand traffic, -1 = left-hand
    lanes: int
    lane_width: float
    one_way: bool
    kerbs: bool
    shoulders: tuple[str, str]
    walk_width: float
    outer: str
    asphalt: np.ndarray
    shoulder_contrast: float
    wear: float
    sun: tuple[float, float]  # shadow's (s, d) offset per metre of height
    haze: float  # extinction per metre
    clouds: float
    gain: np.ndarray
    gamma: float
    contrast: float
    blur: float
    noise: float
    vignette: float
    bonnet: bool
    side_ways: tuple[SideWay | None, SideWay | None] = (None, None)  # left, right

    @property
    def half_road(self) -> float:
        """Return half the road's width in metres."""
        return self.lanes * self.lane_width / 2

    def side_way(self, side: int) -> SideWay | None:
        """Return the way along the right (`side` 1) or left (-1) side of the road."""
        return self.side_ways[side > 0]

    def kerb_m(self, side: int) -> float:
        """Return where the right (`side` 1) or left (-1) pavement begins, as a distance |d|."""
        way = self.side_way(side)
        return self.half_road + (way.total_m if way else 0.0)

    @property
    def ego_lane(self) -> int:
        """Return the lane of the camera, counted from the side of the oncoming traffic."""
        return self.lanes - 1 if self.lanes < 3 else self.lanes - 2

    def lane_d(self, lane: int) -> float:
        """Return the middle of a lane, in metres to the right of the centre line."""
        return self.traffic_side * ((lane + 0.5) * self.lane_width - self.half_road)


@dataclass(frozen=True)
class Thing:
    """An upright thing: the (s, d) of its near end, and its size, in metres.

    A stationary thing has no `speed`. A moving one has a speed in m/s relative to the camera, and
    its `s` is relative to the camera at t = 0. Solids have faces; other things are textured
    rectangles.
    """

    kind: str
    s: float
    d: float
    height: float
    length: float = 0.0
    variant: int = 0
    speed: float | None = None
    faces: tuple[Face, ...] = ()

    def ahead(self, camera_s: float, t_s: float) -> float:
        """Return the distance from the camera to the near end, in metres, at `t_s` seconds."""
        if self.speed is None:
            z = (self.s - camera_s) % LOOP_M
            # The near end of a thing that the camera is passing is behind the camera.
            return z - LOOP_M if z + self.length > LOOP_M else z
        if self.speed == 0.0:
            return self.s + 2 * float(np.sin(0.3 * t_s + self.s))
        return (self.s + self.speed * t_s) % SIGHT_M - 12


Placed = tuple[float, Thing]  # a thing and the distance from the camera to its near end in metres


def draw_world(rng: Generator) -> World:
    """Draw the road, the camera and the light of a drive."""
    name = str(rng.choice(list(THEMES), p=[0.35, 0.25, 0.25, 0.15]))
    weather = WEATHERS[rng.choice(4, p=[0.45, 0.3, 0.1, 0.15])]
    lanes = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.5, 0.2, 0.15]))
    lanes = max(lanes, 2) if name == 'highway' else lanes
    kerbs = bool(rng.random() < THEMES[name].kerbs)
    sides = ['paving', 'concrete'] if kerbs else ['grass', 'dry grass', 'gravel', 'soil']
    angle, white = rng.uniform(0, 2 * np.pi), rng.uniform(-0.07, 0.07)
    bend = rng.choice([0.15, 0.5, 1.0])
    lengths = np.array([130.0, 290.0])
    sizes = bend * rng.uniform(0.3, 1.0, 2) * (lengths / 2 / np.pi) ** 2 / 120
    return World(
        theme=THEMES[name],
        weather=weather,
        camera_height=rng.uniform(1.2, 2.2),
        horizon=rng.uniform(0.35, 0.6),
        field_of_view=np.deg2rad(rng.uniform(45, 95)),
        speed=rng.uniform(9, 14),
        bends=np.stack([sizes, 2 * np.pi / lengths, rng.uniform(0, 6.3, 2)], axis=1),
        traffic_side=1 if rng.random() < 0.65 else -1,
        lanes=lanes,
        lane_width=rng.uniform(2.7, 3.7) if lanes > 1 else rng.uniform(3.2, 5.0),
        one_way=lanes == 1 or name == 'highway' or rng.random() < 0.15,
        kerbs=kerbs,
        shoulders=(str(rng.choice(sides)), str(rng.choice(sides))),
        walk_width=rng.uniform(1.2, 4.0) if kerbs else rng.uniform(0.6, 2.5),
        outer=str(rng.choice(THEMES[name].outer)),
        asphalt=rng.uniform(55, 150) + rng.uniform(-8, 8) * np.array([1.0, 0.0, -0.7]),
        shoulder_contrast=float(rng.choice([0.0, 0.3, 1.0], p=[0.1, 0.2, 0.7])),
        wear=rng.uniform(0, 1),
        sun=(weather.reach * np.cos(angle), weather.reach * np.sin(angle)),
        haze=1 / rng.uniform(150, 900),
        clouds=rng.uniform(-1, 1) + (weather.sun == 0),
        gain=weather.exposure * rng.uniform(0.8, 1.25) * np.array([1 - white, 1, 1 + white]),
        gamma=rng.uniform(0.85, 1.25),
        contrast=rng.uniform(0, 0.5),
        blur=rng.uniform(0.45, 0.9),
        noise=rng.uniform(0.5, 4.0) / weather.exposure,
        vignette=rng.uniform(0, 0.3),
        bonnet=bool(rng.random() < 0.12),
    )


def draw_side_ways(rng: Generator, world: World) -> World:
    """Return the world with the ways beside its road; motorways have none."""
    if world.theme is THEMES['highway']:
        return world
    left, right = (draw_side_way(rng, world.kerbs) for _ in range(2))
    return replace(world, side_ways=(left, right))


def draw_roadside(rng: Generator, world: World) -> list[Thing]:
    """Draw the things beside the road for one loop."""
    things = [*_one_side(rng, world, -1), *_one_side(rng, world, 1)]
    return [thing for thing in things if thing.s < LOOP_M]


def draw_traffic(rng: Generator, world: World) -> list[Thing]:
    """Draw the moving vehicles, with one speed per lane."""
    things = []
    for lane in range(world.lanes):
        oncoming = not world.one_way and lane < world.lanes // 2
        speed = -rng.uniform(18, 26) if oncoming else rng.choice([-1, 1]) * rng.uniform(0.8, 3)
        places = np.cumsum(rng.uniform(13, 70, 8))
        if lane == world.ego_lane:
            # Vehicles ahead in the camera's lane keep their distance.
            speed, places = 0.0, places[: rng.integers(0, 3)]
        for s in places[places < SIGHT_M - 20]:
            kind = str(rng.choice(list(SHAPES), p=[0.66, 0.12, 0.08, 0.07, 0.07]))
            d = world.lane_d(lane) + rng.uniform(-0.2, 0.2)
            things.append(_vehicle(rng, kind, s, d, speed, oncoming))
    return things


def _one_side(rng: Generator, world: World, side: int) -> list[Thing]:
    """Draw the right (`side` 1) or left (-1) roadside; some things lie beyond the loop's end."""
    theme, kerb = world.theme, world.kerb_m(side)
    walk = kerb + world.walk_width
    verge = (kerb + 0.8, max(kerb + 0.9, walk + theme.set_back - 0.3))
    things = _row(rng, 'tree', theme.tree_gap, side, verge, (4, 12))
    things += _row(rng, 'sign', 35, side, (kerb + 0.4, kerb + 1.0), (2.3, 3.0))
    if world.kerbs:
        things += _row(rng, 'pedestrian', 18, side, (kerb + 0.4, walk), (1.5, 1.9))
        things += _row(rng, 'pedestrian', 150, side, (0, kerb), (1.5, 1.9))
    s, set_back = 0.0, side * (walk + theme.set_back + rng.uniform(0, 4))
    while s < LOOP_M - 40:
        length, height = rng.uniform(9, 28), rng.uniform(5, theme.building_height)
        things.append(Thing('building', s, set_back, height, length, int(rng.integers(4))))
        s += length + rng.exponential(theme.building_gap)
    if rng.random() < 0.7:
        lamp = lamp_faces(rng.uniform(5, 8))
        for s in np.arange(rng.uniform(0, 20), LOOP_M, rng.uniform(22, 45)).tolist():
            things.append(Thing('lamp', s, side * (kerb + 0.7), 7.0, faces=lamp))
    if rng.random() < theme.barrier_share:
        kind = str(rng.choice(theme.barriers))
        d, height = (kerb + 0.7, 0.75) if kind == 'rail' else (walk + 0.1, rng.uniform(1, 2))
        places = np.arange(0, LOOP_M, 8.0)
        for s in places[rng.random(len(places)) < 0.85]:
            things.append(Thing(kind, s, side * d, height, 8.0))
    if world.kerbs and rng.random() < 0.5:
        way = world.side_way(side)
        in_bays = way is not None and way.adjoins_road
        parked = (world.half_road + kerb) / 2 if in_bays else kerb + 0.25
        for s in np.cumsum(5.2 + rng.exponential(7, 70)):
            kind = 'van' if rng.random() < 0.2 else 'car'
            things.append(_vehicle(rng, kind, s, side * parked))
    return things


def _row(
    rng: Generator,
    kind: str,
    gap: float,
    side: int,
    distances: tuple[float, float],
    heights: tuple[float, float],
) -> list[Thing]:
    return [
        Thing(
            kind,
            s,
            side * rng.uniform(*distances),
            rng.uniform(*heights),
            variant=int(rng.integers(4)),
        )
        for s in np.cumsum(rng.exponential(gap, int(1.5 * LOOP_M / gap)))
    ]


def _vehicle(
    rng: Generator,
    kind: str,
    s: float,
    d: float,
    speed: float | None = None,
    oncoming: bool = False,
) -> Thing:
    grey = rng.choice([25, 60, 120, 170, 225])
    tint = rng.uniform(-1, 1, 3) * (60 if rng.random() < 0.4 else 5)
    faces = vehicle_faces(kind, np.clip(grey + tint, 10, 240), oncoming)
    shape = SHAPES[kind]
    return Thing(kind, s, d, shape.height, shape.length, speed=speed, faces=faces)
