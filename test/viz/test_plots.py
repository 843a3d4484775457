import os

import cv2
import numpy as np
import pytest

from fcn_road_seg.viz.plots import (
    TimeBar,
    TimePanel,
    plot_curves,
    plot_precision_recall,
    plot_times,
)


def count_ink(path, rows=slice(None)):
    picture = cv2.imread(str(path))
    return int((picture[rows].max(axis=2) - picture[rows].min(axis=2) > 60).sum())


def test_curves_of_a_resumed_run_are_drawn_as_one(tmp_path):
    for version, text in enumerate(
        (
            'epoch,step,train/loss,val/iou\n0,0,1.0,\n0,9,,0.5\n',
            'epoch,step,train/loss\n1,10,0.2\n',
        )
    ):
        (tmp_path / f'{version}.csv').write_text(text)
        os.utime(tmp_path / f'{version}.csv', (version, version))
    plot_curves(tmp_path.glob('*.csv'), tmp_path / 'both.png')
    (tmp_path / '1.csv').unlink()
    plot_curves(tmp_path.glob('*.csv'), tmp_path / 'first.png')
    # A line between the two losses instead of a lone marker.
    assert count_ink(tmp_path / 'both.png') > count_ink(tmp_path / 'first.png') + 200


def test_precision_is_drawn_over_recall(tmp_path):
    high = {'high': (np.array([0.9, 0.9]), np.array([0.0, 1.0]))}
    low = {'low': (np.array([0.1, 0.1]), np.array([0.0, 1.0]))}
    plot_precision_recall(high, tmp_path / 'high.png')
    plot_precision_recall(low, tmp_path / 'low.png')
    upper = slice(0, 150)
    assert count_ink(tmp_path / 'high.png', upper) > count_ink(tmp_path / 'low.png', upper) + 200


def draw_times(path, quartiles_ms, lines_ms, *, is_rival=False):
    """Draw a grey bar of 100 ms, and one to look at."""
    bars = [
        TimeBar('longest', (100.0, 100.0, 100.0), '', True),
        TimeBar('this', quartiles_ms, '', is_rival),
    ]
    plot_times([TimePanel('title', bars, lines_ms, 'ms')], path)
    return path


def changed_pixels(path, other):
    pictures = (cv2.imread(str(p)).astype(int) for p in (path, other))
    return (abs(next(pictures) - next(pictures)).max(axis=2) > 60).sum()


@pytest.fixture
def long(tmp_path):
    return draw_times(tmp_path / 'long.png', (80.0, 80.0, 80.0), {'floor': 10.0})


def test_bars_are_as_long_as_their_times(tmp_path, long):
    short = draw_times(tmp_path / 'short.png', (20.0, 20.0, 20.0), {'floor': 10.0})
    assert count_ink(long) > 3 * count_ink(short) > 300


def test_rivals_are_grey(tmp_path):
    rival = draw_times(tmp_path / 'rival.png', (80.0, 80.0, 80.0), {}, is_rival=True)
    assert count_ink(rival) == 0


def test_quartiles_are_drawn_as_whiskers(tmp_path, long):
    spread = draw_times(tmp_path / 'spread.png', (60.0, 80.0, 95.0), {'floor': 10.0})
    assert changed_pixels(spread, long) > 10


def test_lines_stand_at_their_times(tmp_path, long):
    lined = draw_times(tmp_path / 'lined.png', (80.0, 80.0, 80.0), {'floor': 50.0})
    assert changed_pixels(lined, long) > 50


@pytest.mark.parametrize('name', ['$a$_{', '\\frac$$', '_road'])
def test_name_of_any_characters_is_drawn_in_the_legend(name, tmp_path):
    curve = (np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    ink = []
    for label in ('i', name):
        plot_precision_recall({label: curve}, tmp_path / 'x.png')
        ink.append(np.count_nonzero(cv2.imread(str(tmp_path / 'x.png')).max(axis=2) < 100))
    assert ink[1] > ink[0]
