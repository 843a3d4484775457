import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.viz.video import VideoError, atomic_video_writer

TOO_LARGE = """
import resource, sys
import numpy as np
from fcn_road_seg.viz.video import atomic_video_writer
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
rng = np.random.default_rng(0)
with atomic_video_writer(sys.argv[1], 10) as add:
    for _ in range(30):
        add(rng.integers(0, 256, (240, 320, 3), np.uint8))
"""


def picture(value, hw=(48, 64)):
    return np.full((*hw, 3), value, np.uint8)


def pictures_of(path):
    video = cv2.VideoCapture(str(path))
    rate_hz = video.get(cv2.CAP_PROP_FPS)
    found = []
    while True:
        read, frame = video.read()
        if not read:
            return rate_hz, found
        found.append(frame)


def test_video_has_every_picture_in_order_at_its_rate(tmp_path):
    with atomic_video_writer(tmp_path / 'a.mp4', 7.5) as add:
        for value in (40, 120, 200):
            add(picture(value))
        assert not (tmp_path / 'a.mp4').exists()
    rate_hz, found = pictures_of(tmp_path / 'a.mp4')
    assert rate_hz == pytest.approx(7.5)
    assert [frame.shape for frame in found] == [(48, 64, 3)] * 3
    assert [frame.mean() for frame in found] == pytest.approx([40, 120, 200], abs=5)
    assert list(tmp_path.iterdir()) == [tmp_path / 'a.mp4']


@pytest.mark.parametrize(
    ('rate_hz', 'written_hz'),
    [(200 / 3, 66.67), (100.123, 100.1), (30000 / 1001, 29.97), (0.0, 0.01), (1e6, 999)],
)
def test_rate_that_mpeg4_cannot_hold_is_rounded_or_limited(tmp_path, rate_hz, written_hz):
    with atomic_video_writer(tmp_path / 'a.mp4', rate_hz) as add:
        add(picture(40))
        add(picture(40))
    assert pictures_of(tmp_path / 'a.mp4')[0] == pytest.approx(written_hz, rel=1e-4)


@given(rate_hz=st.floats(0, 1e12, allow_nan=False))
def test_every_rate_can_be_written(rate_hz):
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'a.mp4'
        with atomic_video_writer(path, rate_hz) as add:
            add(picture(40, (16, 16)))
        assert len(pictures_of(path)[1]) == 1


def test_pictures_of_other_and_odd_sizes_are_fitted_into_the_first_ones(tmp_path):
    with atomic_video_writer(tmp_path / 'a.mp4', 10) as add:
        for hw in ((47, 65), (100, 64), (1, 1)):
            add(picture(120, hw))
    _, found = pictures_of(tmp_path / 'a.mp4')
    assert [frame.shape for frame in found] == [(46, 64, 3)] * 3
    # The middle of the high picture, between black sides.
    assert found[1][23, 32].mean() == pytest.approx(120, abs=8)
    assert found[1][:, :8].mean() < 10


def test_error_leaves_the_earlier_video_and_nothing_else(tmp_path):
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'old')
    with suppress(ValueError), atomic_video_writer(path, 10) as add:
        add(picture(1))
        raise ValueError
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def write(path, *pictures):
    with atomic_video_writer(path, 10) as add:
        for shown in pictures:
            add(shown)


@pytest.mark.parametrize(
    ('name', 'pictures', 'text'),
    [
        ('a.avi', [picture(1)], r'a\.avi does not end in \.mp4; use that suffix'),
        ('a.mp4', [], 'would have no picture'),
        ('nowhere/a.mp4', [picture(1)], 'nowhere does not exist; create that folder first'),
    ],
)
def test_video_that_cannot_be_written_is_refused_and_leaves_nothing(
    tmp_path, name, pictures, text
):
    with pytest.raises(VideoError, match=text):
        write(tmp_path / name, *pictures)
    assert list(tmp_path.iterdir()) == []


def test_disk_with_no_room_is_noticed(tmp_path):
    line = (sys.executable, '-c', TOO_LARGE, str(tmp_path / 'a.mp4'))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(line, stderr=subprocess.PIPE, text=True, check=True)
    last = caught.value.stderr.splitlines()[-1]
    assert re.search(r'/a\.mp4 has \d+ of 30 pictures; is the disk full\?', last)
    assert list(tmp_path.iterdir()) == []


def test_name_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b'caf\xe9.mp4')
    with pytest.raises(VideoError, match='is not UTF-8'), atomic_video_writer(path, 10.0):
        pass
    assert not list(tmp_path.iterdir())
