"""TODO: one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import (
    DatasetError,
    LabelledFrame,
    UnlabelledFrame,
    _images,
    _pair,
)
from fcn_road_seg.datasets.labels import VOID


def find_test_frames(root: str | Path) -> list[UnlabelledFrame]:
    """Return the frames of the KITTI road test set in `root`.

    Raises:
        DatasetError: `root` has no testing/image_2, or a frame no calibration.
    """
    testing = Path(root) / 'testing'
    if not (testing / 'image_2').is_dir():
        raise DatasetError(f'{root} has no testing/image_2; give the folder of KITTI road')
    found = [
        UnlabelledFrame(f, testing / 'calib' / f'{f.stem}.txt')
        for f in _images(testing / 'image_2')
    ]
    for frame in found:
        if not frame.calibration_path.is_file():
            raise DatasetError(
                f'{frame.frame_path} has no calibration; {frame.calibration_path} is expected'
            )
    return found


def kitti_road_label(gt_bgr: np.ndarray) -> np.ndarray:
    """Decode a KITTI road ground truth: road where blue > 0, valid where red > 0, else void."""
    if gt_bgr.ndim != 3:
        raise ValueError('a KITTI road label is a colour image, this one is grey')
    label = (gt_bgr[..., 0] > 0).astype(np.uint8)
    label[gt_bgr[..., 2] == 0] = VOID
    return label


def _kitti_road(training: Path) -> list[LabelledFrame]:
    found = []
    for frame_path in _images(training / 'image_2'):
        category, _, number = frame_path.stem.partition('_')
        # um_000000.png belongs to um_road_000000.png; um_lane_* is the ego lane, another task.
        label_path = training / 'gt_image_2' / f'{category}_road_{number}.png'
        frame = replace(_pair(frame_path, label_path, kitti_road_label), category=category)
        calibration_path = training / 'calib' / f'{frame_path.stem}.txt'
        if calibration_path.is_file():
            frame = replace(frame, calibration_path=calibration_path)
        found.append(frame)
    return found
