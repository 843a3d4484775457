"""Tests of the ways beside rendered roads: where they are, and that they are not road."""

import numpy as np
import pytest

from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.synthetic.side_way import (
    GAUGE_M,
    SHARE_WITH_KERBS,
    SHARE_WITHOUT_KERBS,
    SideWay,
    draw_side_way,
    mark_side_way,
)
from fcn_road_seg.synthetic.solids import SHAPES

SMALL = (96, 160)
PER_M = np.array([12.0, 25.0])


@pytest.fixture(scope='module')
def drives() -> list[SyntheticDrive]:
    """Return the drives with such ways among sixty."""
    drives = [SyntheticDrive(seed, SMALL) for seed in range(60)]
    return [drive for drive in drives if any(drive.world.side_ways)]


def _ways(drives: list[SyntheticDrive]) -> list[tuple[SyntheticDrive, int, SideWay]]:
    return [
        (drive, side, way)
        for drive in drives
        for side, way in zip((-1, 1), drive.world.side_ways, strict=True)
        if way is not None
    ]


@pytest.mark.parametrize(
    ('kerbs', 'share'), [(True, SHARE_WITH_KERBS), (False, SHARE_WITHOUT_KERBS)]
)
def test_ways_are_as_frequent_as_their_share_says(kerbs: bool, share: float) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_side_way(rng, kerbs) for _ in range(2000)]
    assert np.mean([way is not None for way in drawn]) == pytest.approx(share, abs=0.03)
    kinds = {way.kind for way in drawn if way is not None}
    assert kinds == ({'cycle path', 'parking bays', 'tram bed'} if kerbs else {'cycle path'})


def test_something_tells_each_way_from_the_road_before_it() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_side_way(rng, kerbs) for kerbs in (True, False) for _ in range(2000)]
    for way in filter(None, drawn):
        assert way.verge_m >= 0.4 or way.marked or way.surface in ('paving', 'concrete')


def test_a_way_is_not_road_and_the_lane_beside_it_is(drives: list[SyntheticDrive]) -> None:
    ways = _ways(drives)
    assert len(ways) > 20
    ahead = np.linspace(8, 30, 12)
    for drive, side, way in ways:
        half, centre = drive.world.half_road, drive.camera(1.0).centre(ahead)
        middle, lane = half + way.verge_m + way.width_m / 2, half - 0.8
        assert not drive.is_road(1.0, ahead, side * middle + centre).any()
        assert drive.is_road(1.0, ahead, side * lane + centre).all()


def test_what_stands_beside_the_road_stands_beyond_the_way(drives: list[SyntheticDrive]) -> None:
    beside = 0
    for drive, side, way in _ways(drives):
        kerb = drive.world.half_road + way.total_m
        assert drive.world.kerb_m(side) == kerb
        for thing in drive.things:
            crosses = thing.kind == 'pedestrian' or thing.speed is not None
            if np.sign(thing.d) != side or crosses:
                continue
            parked_in_bay = way.kind == 'parking bays' and thing.kind in SHAPES
            assert abs(thing.d) > (drive.world.half_road + 0.9 if parked_in_bay else kerb)
            beside += 1
    assert beside > 500


def test_a_tram_bed_has_two_rails_a_gauge_apart() -> None:
    way = SideWay('tram bed', 1.0, 2.8, 'gravel', 'concrete', 1.0, False)
    ground = np.full((24, 80, 3), 100, np.float32)
    out = (np.arange(80, dtype=np.float32) + 0.5) / PER_M[1]
    mark_side_way(ground, way, np.random.default_rng(0), out, PER_M)
    steel = np.abs(ground[0, :, 0] - 100) > 20
    rails = out[steel]
    assert rails.min() == pytest.approx(1.4 - GAUGE_M / 2, abs=0.06)
    assert rails.max() == pytest.approx(1.4 + GAUGE_M / 2, abs=0.06)
    assert np.ptp(ground, axis=0).max() == 0


def test_parking_bays_are_divided_by_lines_and_an_unmarked_path_has_none() -> None:
    ground = np.full((int(64 * PER_M[0]), 80, 3), 100, np.float32)
    out = (np.arange(80, dtype=np.float32) + 0.5) / PER_M[1]
    rng = np.random.default_rng(0)
    path = SideWay('cycle path', 1.0, 2.0, 'asphalt', 'grass', 1.0, False)
    mark_side_way(ground, path, rng, out, PER_M)
    assert (ground == 100).all()
    bays = SideWay('parking bays', 0.0, 2.2, 'asphalt', 'asphalt', 1.0, True)
    mark_side_way(ground, bays, rng, out, PER_M)
    column = ground[:, 40, 0] > 120
    assert np.count_nonzero(np.diff(column.astype(int)) > 0) == 12  # one each 5.3 of 64 m
