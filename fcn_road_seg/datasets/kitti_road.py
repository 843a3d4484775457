"""The KITTI road benchmark: labelled training frames, and test frames with calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.frames import (
    DatasetError,
    LabelledFrame,
    UnlabelledFrame,
    find_images,
    pair_with_label,
)
from fcn_road_seg.datasets.labels import VOID


def find_test_frames(root: str | Path) -> list[UnlabelledFrame]:
    """Return the frames of the KITTI road test set in `root`.

    Raises:
        DatasetError: `root` has no testing/image_2, a frame has no calibration, or two have the
            same name.
    """
    testing = Path(root) / 'testing'
    if not (testing / 'image_2').is_dir():
        raise DatasetError(f'{root} has no testing/image_2; give the folder of KITTI road')
    found = [
        UnlabelledFrame(f, testing / 'calib' / f'{f.stem}.txt')
        for f in find_images(testing / 'image_2')
    ]
    path_of: dict[str, Path] = {}
    for frame in found:
        if not frame.calibration_path.is_file():
            raise DatasetError(
                f'{frame.frame_path} has no calibration; {frame.calibration_path} is expected'
            )
        other = path_of.setdefault(frame.submission_name, frame.frame_path)
        if other != frame.frame_path:
            raise DatasetError(
                f'{other} and {frame.frame_path} are both {frame.submission_name} for the server; '
                'remove one'
            )
    return found


def kitti_road_label(gt_bgr: np.ndarray) -> np.ndarray:
    """Decode an (H, W, 3) uint8 BGR ground truth: road if blue > 0, but void if red is 0."""
    if gt_bgr.ndim != 3:
        raise ValueError('a KITTI road label must be a colour image, but is grey')
    label = (gt_bgr[..., 0] > 0).astype(np.uint8)
    label[gt_bgr[..., 2] == 0] = VOID
    return label


def find_kitti_road_frames(training: Path) -> list[LabelledFrame]:
    """Return the labelled frames of the benchmark's `training` folder.

    Raises:
        DatasetError: there is no frame, or a frame has no label.
    """
    found = []
    frames = training / 'image_2'
    for frame_path in find_images(frames):
        category, _, number = frame_path.stem.partition('_')
        subfolder = frame_path.parent.relative_to(frames)
        # um_lane_*, the ego lane, is the label of another task.
        label_path = training / 'gt_image_2' / subfolder / f'{category}_road_{number}.png'
        frame = replace(
            pair_with_label(frame_path, label_path, kitti_road_label), category=category
        )
        calibration_path = training / 'calib' / subfolder / f'{frame_path.stem}.txt'
        if calibration_path.is_file():
            frame = replace(frame, calibration_path=calibration_path)
        found.append(frame)
    return found
