"""A segmenter that loads instantly, for workers that are killed and restarted."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fcn_road_seg.bags.options import BagOptions
from fcn_road_seg.fleet.labeller import Assignment
from fcn_road_seg.fleet.manifest import Request

SHA256 = 'c0ffee' * 10


class GreySegmenter:
    """Replaces `RoadSegmenter`: whatever is dark is road; each frame takes `pause_s`."""

    device = SimpleNamespace(type='cpu')
    precision, backend = 'float32', 'grey'

    def __init__(self, pause_s: float = 0.0, sha256: str = SHA256) -> None:
        self.checkpoint_sha256 = sha256
        self._pause_s = pause_s

    def __call__(self, frame: np.ndarray, **_asked: Any) -> SimpleNamespace:
        time.sleep(self._pause_s)
        grey = frame.mean(axis=2).astype(np.uint8)
        return SimpleNamespace(
            mask=np.where(grey < 100, 255, 0).astype(np.uint8),
            road_probability=255 - grey,
            overlay_bgr=frame,
        )


class LostGpu(GreySegmenter):
    """Fails like a full GPU, with an error of several lines; only the first instance does."""

    def __init__(self, marker: Path) -> None:
        super().__init__()
        self._is_lost = not marker.exists()
        marker.touch()

    def __call__(self, frame: np.ndarray, **asked: Any) -> SimpleNamespace:
        if self._is_lost:
            import torch

            raise torch.cuda.OutOfMemoryError('CUDA out of memory.\nMore for programmers')
        return super().__call__(frame, **asked)


def grey_assignment(
    out: Path, options: BagOptions | None = None, pause_s: float = 0.0, sha256: str = SHA256
) -> Assignment:
    """Return what workers with a `GreySegmenter` are to do."""
    options = options or BagOptions(originals=True)
    request = Request(SHA256, {'originals': options.originals})
    return Assignment(out, options, partial(GreySegmenter, pause_s, sha256), request)
