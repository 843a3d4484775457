import os
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.viz.contact_sheet import draw_errors, letterbox, make_contact_sheet, write_png


def test_found_missed_and_invented_road_have_colours_of_their_own():
    frame_rgb = np.full((1, 5, 3), 100, np.uint8)
    road = np.array([[True, False, True, False, True]])
    label = np.uint8([[ROAD, ROAD, BACKGROUND, BACKGROUND, VOID]])
    found, missed, invented, nothing, void = draw_errors(frame_rgb, road, label)[0].tolist()
    assert found == [55, 145, 55]
    assert missed == [170, 82, 55]
    assert invented == [55, 55, 170]
    assert nothing == [100, 100, 100]
    assert void == [55, 55, 55]


def test_letterboxed_picture_keeps_its_aspect_ratio_in_the_middle():
    boxed = letterbox(np.full((10, 40, 3), 255, np.uint8), (20, 20))
    assert boxed.shape == (20, 20, 3)
    assert np.flatnonzero(boxed.any(axis=(1, 2))).tolist() == [7, 8, 9, 10, 11]


def test_sheet_has_rows_as_high_as_their_highest_picture():
    wide = np.full((10, 40, 3), 255, np.uint8)
    tall = np.full((40, 40, 3), 128, np.uint8)
    together = make_contact_sheet([wide, tall, wide], columns=2, cell_width=40)
    assert together.shape == (40 + 10, 80, 3)
    assert (together[:40, 40:] == 128).all()
    assert (together[40:, :40] == 255).all()
    assert (together[40:, 40:] == 0).all()


def test_picture_is_written_under_a_name_of_any_bytes(tmp_path):
    picture_bgr = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    path = Path(os.fsdecode(bytes(tmp_path) + b'/%d #?=\xe9.png'))
    write_png(picture_bgr, path)
    written = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, picture_bgr)
    assert list(tmp_path.iterdir()) == [path]
