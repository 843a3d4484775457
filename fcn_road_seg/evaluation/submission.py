"""The zip file that the server of the KITTI road benchmark evaluates."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
from tqdm import tqdm

from fcn_road_seg.datasets.kitti_calibration import read_road_to_image
from fcn_road_seg.datasets.kitti_road import find_test_frames
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.utils.atomic_write import atomic_write

SUBMISSION_NAME = 'road_submission.zip'


def write_submission(segmenter: RoadSegmenter, root: Path, folder: Path) -> Path:
    """Segment the KITTI road test set in `root`, write the zip to `folder` and return its path.

    It holds each test frame's 255 * p(road) in bird's-eye view, as
    `um_road_000000.png` and so on.

    Raises:
        DatasetError, CalibrationError: a file is missing or invalid; the message names it.
    """
    path = folder / SUBMISSION_NAME
    folder.mkdir(parents=True, exist_ok=True)
    view = BirdsEyeView()
    with atomic_write(path) as part, zipfile.ZipFile(part, 'w', zipfile.ZIP_STORED) as archive:
        for frame in tqdm(find_test_frames(root), desc='submission', unit='frame'):
            homography = read_road_to_image(frame.calibration_path)
            found = segmenter(
                frame.load(), channel_order='rgb', road_probability=True, confidence=False
            )
            assert found.road_probability is not None
            projected = view.project(found.road_probability, homography, outside=0)
            _, png = cv2.imencode('.png', projected)
            archive.writestr(frame.submission_name, png.tobytes())
    return path
