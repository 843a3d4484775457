import os

import cv2
import numpy as np

from fcn_road_seg.viz.plots import (
    TimeBar,
    TimePanel,
    plot_curves,
    plot_precision_recall,
    plot_times,
)


def has_ink(path, rows=slice(None)):
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
    assert has_ink(tmp_path / 'both.png') > has_ink(tmp_path / 'first.png') + 200


def test_precision_is_drawn_over_recall(tmp_path):
    high = {'high': (np.array([0.9, 0.9]), np.array([0.0, 1.0]))}
    low = {'low': (np.array([0.1, 0.1]), np.array([0.0, 1.0]))}
    plot_precision_recall(high, tmp_path / 'high.png')
    plot_precision_recall(low, tmp_path / 'low.png')
    upper = slice(0, 150)
    assert has_ink(tmp_path / 'high.png', upper) > has_ink(tmp_path / 'low.png', upper) + 200


def test_times_are_drawn_as_bars_with_whiskers_and_lines(tmp_path):
    def drawn(name, quartiles_ms, lines_ms, *, is_rival=False):
        bars = [
            TimeBar('longest', (100.0, 100.0, 100.0), '', True),
            TimeBar('this', quartiles_ms, '', is_rival),
        ]
        plot_times([TimePanel('title', bars, lines_ms, 'ms')], tmp_path / name)
        return tmp_path / name

    short = drawn('short.png', (20.0, 20.0, 20.0), {'floor': 10.0})
    long = drawn('long.png', (80.0, 80.0, 80.0), {'floor': 10.0})
    # The rivals' grey is no ink.
    assert has_ink(drawn('rival.png', (80.0, 80.0, 80.0), {}, is_rival=True)) == 0
    assert has_ink(long) > 3 * has_ink(short) > 300
    spread = drawn('spread.png', (60.0, 80.0, 95.0), {'floor': 10.0})
    plain = cv2.imread(str(long)).astype(int)
    assert (abs(cv2.imread(str(spread)) - plain).max(axis=2) > 60).sum() > 10
    lined = drawn('lined.png', (80.0, 80.0, 80.0), {'floor': 50.0})
    assert (abs(cv2.imread(str(lined)) - plain).max(axis=2) > 60).sum() > 50
