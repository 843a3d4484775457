"""Road segmentation of camera frames for ROS 2.

The names in `__all__` are the package's Python API. Each is imported on first use (PEP 562):
OpenCV and PyTorch take time to import, and the node refuses bad parameters before that.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcn_road_seg.inference.interfaces import OverlayStyle, Segmentation
    from fcn_road_seg.inference.segmenter import RoadSegmenter
    from fcn_road_seg.model.checkpoint import load_checkpoint
    from fcn_road_seg.model.road_fcn import RoadFCN
    from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path

# Set here, because GNU OpenMP reads this variable when PyTorch or ncnn loads the library. By
# default its threads busy-wait for milliseconds: beside one busy process, a frame then takes twice
# as long, and twice the CPU time (see benchmarks/README.md).
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

__version__ = '0.1.0'

__all__ = [
    'OverlayStyle',
    'RoadFCN',
    'RoadSegmenter',
    'Segmentation',
    '__version__',
    'default_checkpoint_path',
    'load_checkpoint',
]

_HOMES = {
    'OverlayStyle': 'fcn_road_seg.inference.interfaces',
    'RoadFCN': 'fcn_road_seg.model.road_fcn',
    'RoadSegmenter': 'fcn_road_seg.inference.segmenter',
    'Segmentation': 'fcn_road_seg.inference.interfaces',
    'default_checkpoint_path': 'fcn_road_seg.model.shipped_checkpoints',
    'load_checkpoint': 'fcn_road_seg.model.checkpoint',
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
