"""Tests of the rendered drives: reproducible, exact and moving."""

from itertools import pairwise, product

import cv2
import numpy as np
import pytest

from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.synthetic.solids import SHAPES
from fcn_road_seg.synthetic.texture import fractal

SMALL = (96, 160)


@pytest.fixture(scope='module')
def drives() -> list[SyntheticDrive]:
    """Return twenty small drives."""
    return [SyntheticDrive(seed, SMALL) for seed in range(20)]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_same_seed_and_time_give_the_same_bytes_in_any_order_of_calls() -> None:
    times = (0.0, 7.3, 2.1, 7.3)
    forwards = SyntheticDrive(3, SMALL)
    expected = {t: forwards.render(t) for t in times}
    again = SyntheticDrive(3, SMALL)
    for t in reversed(times):
        for array, same in zip(again.render(t), expected[t], strict=True):
            np.testing.assert_array_equal(array, same)


def test_a_returned_frame_is_not_touched_by_later_calls() -> None:
    drive = SyntheticDrive(3, SMALL)
    frame, label = drive.render(1.0)
    copies = frame.copy(), label.copy()
    drive.render(2.0)
    np.testing.assert_array_equal(frame, copies[0])
    np.testing.assert_array_equal(label, copies[1])


def test_other_seeds_give_other_frames_and_roads(drives: list[SyntheticDrive]) -> None:
    rendered = [drive.render(1.0) for drive in drives]
    for (frame, label), (other, other_label) in pairwise(rendered):
        assert np.abs(frame.astype(int) - other).mean() > 5
        assert _iou(label, other_label) < 0.99


@pytest.mark.parametrize('size', [(64, 64), (64, 256), (375, 1242), (480, 480)])
def test_frame_and_label_have_the_size_asked_for(size: tuple[int, int]) -> None:
    frame, label = SyntheticDrive(1, size).render(0.5)
    assert frame.shape == (*size, 3)
    assert label.shape == size
    assert frame.dtype == label.dtype == np.uint8


def test_labels_are_0_or_1_and_5_to_75_percent_road(drives: list[SyntheticDrive]) -> None:
    for drive in drives:
        _, label = drive.render(2.0)
        assert set(np.unique(label)) == {0, 1}
        assert 0.05 < label.mean() < 0.75


def test_frames_a_tenth_of_a_second_apart_differ_but_show_the_same_road(
    drives: list[SyntheticDrive],
) -> None:
    for drive in drives:
        frame, label = drive.render(4.0)
        next_frame, next_label = drive.render(4.1)
        assert np.abs(frame.astype(int) - next_frame).mean() > 1
        assert _iou(label, next_label) > 0.8


def test_the_camera_drives_at_8_to_15_metres_a_second(drives: list[SyntheticDrive]) -> None:
    for drive in drives:
        places = [drive.camera(t).s for t in np.arange(0, 30, 0.1)]
        speeds = np.diff(places) / 0.1
        assert speeds.min() >= 8
        assert speeds.max() <= 15


def test_nothing_above_the_horizon_is_road(drives: list[SyntheticDrive]) -> None:
    for drive in drives:
        for t in (0.0, 0.2, 5.5):
            _, label = drive.render(t)
            assert not label[: int(drive.camera(t).horizon)].any()


def test_road_ends_within_two_pixels_of_its_geometry(drives: list[SyntheticDrive]) -> None:
    inside = []
    kerbed = [drive for drive in drives if drive.world.kerbs]  # other edges are ragged
    for drive, t_s in product(kerbed, (1.0, 4.0, 9.0)):
        _, label = drive.render(t_s)
        camera = drive.camera(t_s)
        rows = np.arange(int(camera.horizon) + 6, SMALL[0])
        z = camera.focal * camera.height / (rows - camera.horizon)
        parked = {np.sign(t.d) for t in drive.things if t.kind in SHAPES and t.speed is None}
        for side in (-1, 1):
            d = np.full_like(z, side * drive.world.half_road)
            edge = camera.project(np.stack([z, d, np.zeros_like(z)], axis=1))[:, 0]
            out, within = (np.round(edge + side * shift).astype(int) for shift in (2, -2))
            seen = (np.minimum(out, within) >= 0) & (np.maximum(out, within) < SMALL[1])
            assert not label[rows[seen], out[seen]].any()
            if side not in parked:
                inside.extend(label[rows[seen], within[seen]].tolist())
    # The rest is hidden by vehicles, pedestrians and the like.
    assert len(inside) > 100
    assert np.mean(inside) > 0.7


def test_a_vehicle_is_not_road_but_the_road_before_it_is(drives: list[SyntheticDrive]) -> None:
    checked = 0
    for drive in drives:
        camera = drive.camera(0.0)
        ahead = [
            (thing.ahead(camera.s, 0.0), thing)
            for thing in drive.things
            if thing.kind in SHAPES and thing.speed == 0.0
        ]
        for z, thing in sorted(ahead, key=lambda pair: pair[0])[:1]:
            _, label = drive.render(0.0)
            points = np.array([(z, thing.d, 0.7), (z - 2.0, thing.d, 0.0)])
            (u, v), (u_road, v_road) = camera.project(points).round().astype(int)
            if v_road < SMALL[0] * 0.88:
                assert label[v, u] == 0
                checked += int(label[v_road, u_road])
    assert checked >= 5


def test_label_edge_is_the_visible_edge_of_the_road() -> None:
    # The frame changes most where the label changes: at the border against pixels off it.
    contrasts = []
    for seed in range(6):
        frame, label = SyntheticDrive(seed, (192, 320)).render(1.0)
        gradient = cv2.morphologyEx(
            cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        border = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        inside = cv2.erode(label, np.ones((9, 9), np.uint8)) > 0
        contrasts.append(gradient[border].mean() / gradient[inside].mean())
    assert np.median(contrasts) > 1.5


def test_noise_has_unit_deviation_and_repeats_along_its_rows() -> None:
    noise = fractal(np.random.default_rng(0), (256, 64), (4, 8))
    assert noise.std() == pytest.approx(1, abs=1e-3)
    step = np.abs(np.diff(noise, axis=0)).max()
    assert np.abs(noise[0] - noise[-1]).max() <= 2 * step
