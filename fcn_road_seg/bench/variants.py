"""The variants that the bench compares: our network on each backend, and the classic FCN-8s."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fcn_road_seg.bench.classic_fcn8s import ClassicFCN8s
from fcn_road_seg.bench.options import CLASSIC, LABELS, REFERENCE
from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from fcn_road_seg.inference.interfaces import CpuBackend
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit
from fcn_road_seg.utils.cpu_features import has_avx2, has_exact_int8, has_fast_bfloat16

_SIXTEEN_BITS = ('bfloat16', 'float16')

# Takes a frame, (H, W, 3) uint8 RGB, and returns a function: each call of it computes the frame's
# logits, (H, W), and returns when they are computed.
Variant = Callable[[np.ndarray], Callable[[], Tensor]]


def available(device: torch.device, checkpoint: Checkpoint) -> list[str]:
    """Return the names, of LABELS, that run on this device at a sensible speed."""
    on_cpu = device.type == 'cpu'
    has_openvino = on_cpu and find_spec('openvino')
    has_int8 = has_openvino and checkpoint.activation_peaks
    left_out = {
        'ncnn': not (on_cpu and find_spec('ncnn')),
        'bfloat16': not (on_cpu and has_fast_bfloat16()),
        'float16': on_cpu,
        'openvino_bfloat16': not (has_openvino and has_fast_bfloat16()),
        'openvino_int8': not (has_int8 and has_exact_int8()),
        'openvino_int8_avx2': not (has_int8 and has_avx2() and not has_exact_int8()),
    }
    return [name for name in LABELS if not left_out.get(name)]


def make_variant(name: str, checkpoint: Checkpoint, device: torch.device) -> Variant:
    """Build one of `available(device, checkpoint)`, with its weights on `device`."""
    if name == CLASSIC:
        return _eager(ClassicFCN8s().eval(), device)
    if name == REFERENCE:
        return _eager(copy.deepcopy(checkpoint.model), device)
    folded = checkpoint.model.weights().folded()
    if name == 'ncnn':
        from fcn_road_seg.inference.backends.ncnn_backend import NcnnBackend

        return _on_cpu(NcnnBackend(folded, torch.get_num_threads()))
    if name.startswith('openvino_'):
        from fcn_road_seg.inference.backends.openvino_backend import OpenVinoBackend

        precision, peaks = name.removeprefix('openvino_'), checkpoint.activation_peaks

        def at(frame_rgb: np.ndarray) -> Callable[[], Tensor]:
            # One for each size: a backend keeps few sizes, and would recompile in every round.
            network = OpenVinoBackend(folded, precision, peaks, torch.get_num_threads())
            return _on_cpu(network)(frame_rgb)

        return at
    precision = name if name in _SIXTEEN_BITS else 'float32'
    if device.type == 'cpu':
        return _on_cpu(TorchBackend(folded, precision))
    model = RoadFCN.from_weights(folded).to(getattr(torch, precision))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    return _eager(model, device)


def gflop(name: str, config: RoadFCNConfig, hw: tuple[int, int]) -> float:
    """Return the work for one frame at (H, W): 2 x multiply-adds of direct convolution, in 1e9."""
    # On this device nothing is allocated or computed.
    with torch.device('meta'):
        network = ClassicFCN8s() if name == CLASSIC else RoadFCN(config)
        frame = torch.empty(1, 3, *hw, dtype=torch.uint8)
    # Not inference_mode, in which PyTorch 2.1 counts nothing.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval().scores(frame)
    return counter.get_total_flops() / 1e9


def parameter_count(config: RoadFCNConfig) -> int:
    """Return the number of weights of the network."""
    with torch.device('meta'):
        return sum(p.numel() for p in RoadFCN(config).parameters())


def _eager(network: nn.Module, device: torch.device) -> Variant:
    network.requires_grad_(False).to(device)

    def at(frame_rgb: np.ndarray) -> Callable[[], Tensor]:
        frames = torch.from_numpy(frame_rgb).permute(2, 0, 1)[None].contiguous().to(device)

        def run() -> Tensor:
            logit = road_logit(network.scores(frames))[0]  # type: ignore[operator]
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
            return logit

        return run

    return at


def _on_cpu(network: CpuBackend) -> Variant:
    return lambda frame_rgb: lambda: torch.from_numpy(network.road_logit(frame_rgb))
