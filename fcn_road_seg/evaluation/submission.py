"""The zip file that the server of the KITTI road benchmark evaluates."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from fcn_road_seg.datasets.frames import UnlabelledFrame
from fcn_road_seg.datasets.kitti_calibration import read_road_to_image
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.evaluation.output import SUBMISSION_NAME
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.utils.picture import encode_png


def write_submission(
    segmenter: RoadSegmenter, frames: Sequence[UnlabelledFrame], folder: Path
) -> Path:
    """Segment the KITTI road test set, write the zip to `folder` and return its path.

    It holds each test frame's 255 * p(road) in bird's-eye view, as
    `um_road_000000.png` and so on.

    Raises:
        DatasetError, CalibrationError: a file is missing or invalid; the message names it.
    """
    path = folder / SUBMISSION_NAME
    folder.mkdir(parents=True, exist_ok=True)
    view = BirdsEyeView()
    with atomic_write(path) as part, zipfile.ZipFile(part, 'w', zipfile.ZIP_STORED) as archive:
        for frame in tqdm(frames, desc='submission', unit='frame'):
            homography = read_road_to_image(frame.calibration_path)
            found = segmenter(
                frame.load(), channel_order='rgb', road_probability=True, confidence=False
            )
            assert found.road_probability is not None
            projected = view.project(found.road_probability, homography, outside=0)
            archive.writestr(frame.submission_name, encode_png(projected))
    return path
