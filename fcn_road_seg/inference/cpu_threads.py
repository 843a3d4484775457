"""The number of CPU threads, a setting of the whole process."""

from __future__ import annotations

import cv2
import torch


def limit_cpu_threads(count: int) -> None:
    """Let PyTorch and OpenCV compute on `count` threads in this process; 0 changes nothing.

    Call it before a `RoadSegmenter` is made: ncnn and OpenVINO then use the same number.
    """
    if count:
        torch.set_num_threads(count)
        cv2.setNumThreads(count)
