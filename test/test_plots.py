import os

import cv2
import numpy as np

from fcn_road_seg.plots import plot_curves, plot_precision_recall


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
