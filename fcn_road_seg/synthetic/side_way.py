"""Ways beside the road that are not road: cycle paths, parking bays, tram beds."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.texture import blend, cover, span

# Probability that a way runs along each side of the road.
SHARE_WITH_KERBS = 0.35
SHARE_WITHOUT_KERBS = 0.2

GAUGE_M = 1.435
RAIL_M = 0.08


class SideWay(NamedTuple):
    """A way along one side of the road, and its verge: their widths, in metres, and surfaces.

    `tone` is the factor for the brightness of the way's surface.
    """

    kind: str  # 'cycle path', 'parking bays' or 'tram bed'
    verge_m: float
    width_m: float
    surface: str
    verge_surface: str
    tone: float
    marked: bool

    @property
    def adjoins_road(self) -> bool:
        """Whether the way has no verge, so that the kerb is at its outer edge (parking bays)."""
        return not self.verge_m

    @property
    def total_m(self) -> float:
        """Return the distance in metres from the road's edge to the outer edge of the way."""
        return self.verge_m + self.width_m


def draw_side_way(rng: Generator, kerbs: bool) -> SideWay | None:
    """Draw the way along one side of a road with or without kerbs; None if there is none."""
    if rng.random() >= (SHARE_WITH_KERBS if kerbs else SHARE_WITHOUT_KERBS):
        return None
    tone, marked = float(rng.uniform(0.85, 1.2)), bool(rng.random() < 0.6)
    kind = str(rng.choice(['cycle path', 'parking bays', 'tram bed'], p=[0.45, 0.35, 0.2]))
    if not kerbs or kind == 'cycle path':
        verge_m = rng.uniform(0.4, 1.2) if kerbs else rng.uniform(1.0, 4.0)
        verge = str(rng.choice(['paving', 'grass'])) if kerbs else 'grass'
        surface = str(rng.choice(['asphalt', 'red paving'], p=[0.7, 0.3]))
        return SideWay('cycle path', verge_m, rng.uniform(1.4, 3.0), surface, verge, tone, marked)
    if kind == 'parking bays':
        width_m = rng.uniform(2.0, 2.6) if rng.random() < 0.7 else rng.uniform(4.5, 5.2)
        surface = str(rng.choice(['asphalt', 'paving', 'concrete']))
        # Without a line, bays of asphalt would look like the road.
        marked |= surface == 'asphalt'
        return SideWay(kind, 0.0, width_m, surface, surface, tone, marked)
    surface = str(rng.choice(['asphalt', 'gravel', 'grass', 'concrete']))
    verge_m, width_m = rng.uniform(0.4, 1.5), float(rng.choice([2.8, 5.8]))
    return SideWay(kind, verge_m, width_m, surface, 'concrete', tone, marked)


def mark_side_way(
    ground: np.ndarray, way: SideWay, rng: Generator, out: np.ndarray, per_m: np.ndarray
) -> None:
    """Draw the rails or lines of a way onto `ground`, (rows, N, 3) float32 BGR, in place.

    `out` (N,) are the distances in metres from the inner edge of the way, `per_m` (2,) the texels
    per metre along and across the road.
    """
    if way.kind == 'tram bed':
        steel = np.full(3, rng.choice([50.0, 190.0]))
        tracks = 1 if way.width_m < 4 else 2
        for track in range(tracks):
            middle = way.width_m * (track + 0.5) / tracks
            for rail in (middle - GAUGE_M / 2, middle + GAUGE_M / 2):
                _line(ground, out, rail, RAIL_M, steel, per_m)
        return
    if not way.marked:
        return
    white = np.full(3, rng.uniform(150, 240))
    _line(ground, out, 0.1, rng.uniform(0.08, 0.15), white, per_m)
    if way.kind == 'cycle path':
        _line(ground, out, way.width_m - 0.1, 0.1, white, per_m)
        return
    length_m = 5.3 if way.width_m < 4 else 2.5
    s = (np.arange(len(ground)) + 0.5) / per_m[0] % length_m
    between = cover(0.06 - np.abs(s - length_m / 2), per_m[0])
    part = span((out > 0) & (out < way.width_m))
    blend(ground[:, part], white, between[:, None])


def _line(
    ground: np.ndarray,
    out: np.ndarray,
    at_m: float,
    width_m: float,
    colour: np.ndarray,
    per_m: np.ndarray,
) -> None:
    part = span(np.abs(out - at_m) < width_m)
    blend(ground[:, part], colour, cover(width_m / 2 - np.abs(out[part] - at_m), per_m[1]))
