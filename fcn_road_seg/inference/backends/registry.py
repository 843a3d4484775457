"""a backend by its name"""

from __future__ import annotations

import torch

from fcn_road_seg.inference.backends.torch_backend import TorchNetwork
from fcn_road_seg.inference.interfaces import CpuBackend
from fcn_road_seg.inference.options import FASTEST_BACKENDS, PRECISIONS, SegmenterError
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.road_fcn import RoadFCN


def _cpu_network(
    model: RoadFCN, backend: str, precision: str, checkpoint: Checkpoint
) -> CpuBackend:
    wanted = FASTEST_BACKENDS[precision] if backend == 'auto' else backend
    try:
        return _network_by(wanted, model, precision, checkpoint)
    except ImportError as error:
        if precision == 'int8':
            raise SegmenterError(
                f"precision 'int8' needs openvino ({error}); pip install openvino, or use auto"
            ) from error
        if backend != 'auto':
            raise SegmenterError(
                f'backend {wanted!r} cannot be imported ({error}); '
                f'pip install {wanted}, or use torch'
            ) from error
    return _network_by('torch', model, precision, checkpoint)


def _network_by(
    backend: str, model: RoadFCN, precision: str, checkpoint: Checkpoint
) -> CpuBackend:
    """Raise ImportError where `backend` is not installed."""
    threads = torch.get_num_threads()
    if backend == 'ncnn':
        from fcn_road_seg.inference.backends.ncnn_backend import NcnnNetwork

        return NcnnNetwork(model, checkpoint.sha256, threads)
    if backend == 'openvino':
        from fcn_road_seg.inference.backends.openvino_backend import OpenVinoNetwork

        return OpenVinoNetwork(model, precision, checkpoint.activation_peaks, threads)
    return TorchNetwork(model, PRECISIONS[precision])
