"""Solid things (vehicles and street lamps) as painted polygons.

Points are (beyond the near end of the solid, right, up), in metres. Only the near and the right
side have faces; things to the right of the camera are mirrored when they are painted.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Point = tuple[float, float, float]

BLACK = np.full(3, 20.0)
GLASS = np.array([75.0, 62, 52])
WHITE_LIGHT = np.array([215.0, 235, 240])
RED_LIGHT = np.array([35.0, 30, 170])


class Shape(NamedTuple):
    """The sizes of a kind of vehicle, in metres, and the number of its side windows."""

    length: float
    width: float
    height: float
    belt: float  # height at which body and cabin meet
    rake: float  # how far the near end of the cabin leans
    boot: float  # length beyond the far end of the cabin
    panes: int


SHAPES = {
    'car': Shape(4.3, 1.78, 1.45, 0.92, 0.7, 1.2, 2),
    'van': Shape(5.2, 1.95, 2.1, 1.1, 0.2, 0.6, 2),
    'truck': Shape(8.0, 2.45, 3.4, 1.2, 0.02, 0.05, 0),
    'bus': Shape(11.0, 2.5, 3.1, 1.4, 0.05, 0.05, 5),
    'motorcycle': Shape(2.1, 0.7, 1.6, 0.8, 0.0, 0.0, 0),
}


class Face(NamedTuple):
    """A polygon of a solid: (N, 3) points and a BGR colour 0..255; details only show if near."""

    points: np.ndarray
    colour: np.ndarray
    detail: bool


def vehicle_faces(kind: str, paint: np.ndarray, oncoming: bool) -> tuple[Face, ...]:
    """Return the faces of a vehicle in the colour `paint`, (3,) BGR; those in front come last."""
    if kind == 'motorcycle':
        return _motorcycle(paint)
    shape = SHAPES[kind]
    return (
        *_cabin(shape, paint, oncoming),
        *_body(shape, paint),
        *_wheels(shape),
        *_rear(shape, paint, WHITE_LIGHT if oncoming else RED_LIGHT),
    )


def lamp_faces(height: float) -> tuple[Face, ...]:
    """Return the pole and the arm of a street lamp `height` metres high."""
    pole = [(0, -0.07, 0), (0, 0.07, 0), (0, 0.04, height), (0, -0.04, height)]
    arm = [(0, 0, height), (0, 1.4, height + 0.25), (0, 1.4, height + 0.1), (0, 0, height - 0.15)]
    grey = np.full(3, 95.0)
    return _face(pole, grey), _face(arm, grey)


def _motorcycle(paint: np.ndarray) -> tuple[Face, ...]:
    return (
        _across((0, 0.09, 0), (0, 0.09, 0.6), BLACK),
        _across((0, 0.2, 0.45), (0, 0.16, 0.85), BLACK * 2, detail=True),
        _across((0, 0.22, 0.75), (0, 0.27, 1.35), paint),
        _across((0, 0.11, 1.35), (0, 0.12, 1.62), BLACK * 1.5),
    )


def _cabin(shape: Shape, paint: np.ndarray, oncoming: bool) -> list[Face]:
    length, belt, rake, tall = shape.length, shape.belt, shape.rake, shape.height
    end = length - shape.boot
    wide = shape.width / 2
    roof = wide - 0.04 * tall * (rake > 0.1)
    side = [(0, wide, belt), (rake, roof, tall), (end - 0.5, roof, tall), (end, wide, belt)]
    faces = [
        _across((0, wide, belt), (length, wide, belt), paint * 1.1),
        _face(side, paint * 0.8),
    ]
    top = wide + (roof - wide) * 0.85
    low, high = belt + 0.06, tall - 0.12
    for edge, next_edge in pairwise(np.linspace(rake + 0.1, end - 0.6, shape.panes + 1)):
        first, last = edge + 0.04, next_edge - 0.04
        pane = [(first, wide, low), (first, top, high), (last, top, high), (last, wide, low)]
        faces.append(_face(pane, GLASS, detail=True))
    faces += [
        _across((rake, roof, tall), (end - 0.5, roof, tall), paint * 1.2),
        _across((0, wide, belt), (rake, roof, tall), paint * 0.95),
    ]
    if shape.panes or oncoming:
        low_edge, high_edge = (0, wide * 0.88, belt + 0.03), (rake, roof * 0.88, tall - 0.08)
        faces.append(_across(low_edge, high_edge, GLASS * 1.15))
    return faces


def _body(shape: Shape, paint: np.ndarray) -> list[Face]:
    length, belt, wide = shape.length, shape.belt, shape.width / 2
    side = [(0, wide, 0.28), (0, wide, belt), (length, wide, belt), (length, wide, 0.28)]
    sill = [(0.2, wide, 0.02), (0.2, wide, 0.3), (length, wide, 0.3), (length, wide, 0.02)]
    return [
        _face(side, paint * 0.78),
        _face(sill, BLACK),
        _across((0.2, wide, 0.02), (0.2, wide, 0.3), BLACK),
    ]


def _wheels(shape: Shape) -> list[Face]:
    wide = shape.width / 2
    hub = 0.32 if shape.height < 2.5 else 0.48
    turn = np.linspace(0, 2 * np.pi, 12)[:-1]
    faces = []
    for a in (0.19 * shape.length, 0.8 * shape.length):
        for r, colour, detail in ((hub, BLACK, False), (hub * 0.6, BLACK * 5, True)):
            circle = [(a + r * np.cos(t), wide * 1.01, hub + r * np.sin(t)) for t in turn]
            faces.append(_face(circle, colour, detail))
    faces += [_upright(0.1, left, 0.22, (0, 0.35), BLACK) for left in (-wide, wide - 0.22)]
    return faces


def _rear(shape: Shape, paint: np.ndarray, light: np.ndarray) -> list[Face]:
    belt, wide = shape.belt, shape.width / 2
    lights = (belt - 0.3, belt - 0.12)
    return [
        _across((0, wide, 0.28), (0, wide, belt), paint * 0.95),
        _across((0, wide, 0.25), (0, wide, 0.45), paint * 0.55, detail=True),
        _upright(0, -wide + 0.05, 0.3, lights, light, detail=True),
        _upright(0, wide - 0.35, 0.3, lights, light, detail=True),
        _across((0, 0.26, 0.5), (0, 0.26, 0.61), BLACK * 10, detail=True),
    ]


def _face(points: Sequence[Point], colour: np.ndarray, detail: bool = False) -> Face:
    return Face(np.array(points), colour, detail)


def _across(low: Point, high: Point, colour: np.ndarray, detail: bool = False) -> Face:
    """Return a face between two edges across the solid, each given as (beyond, half width, up)."""
    (a0, b0, y0), (a1, b1, y1) = low, high
    return _face([(a0, -b0, y0), (a0, b0, y0), (a1, b1, y1), (a1, -b1, y1)], colour, detail)


def _upright(
    a: float,
    left: float,
    width: float,
    ups: tuple[float, float],
    colour: np.ndarray,
    detail: bool = False,
) -> Face:
    right, (low, high) = left + width, ups
    return _face(
        [(a, left, low), (a, right, low), (a, right, high), (a, left, high)], colour, detail
    )
