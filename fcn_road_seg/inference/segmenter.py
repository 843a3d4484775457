"""Frames in, road masks out: the network with everything around it, on a CPU or a GPU."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from fcn_road_seg.inference.backends.registry import _cpu_network
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.cuda_pipeline import CudaPipeline
from fcn_road_seg.inference.interfaces import (
    OverlayStyle,
    Pipeline,
    Segmentation,
    SegmentationRequest,
)
from fcn_road_seg.inference.options import (
    PRECISIONS,
    SegmenterError,
    _check_backend,
    _resolve_device,
    _resolve_precision,
)
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.input_rule import InputRule, logit_threshold
from fcn_road_seg.model.road_fcn import OUTPUT_STRIDE, fold_batch_norm
from fcn_road_seg.utils.cpu_features import has_exact_int8, has_fast_bfloat16

CHANNEL_ORDERS = ('bgr', 'rgb')

MAX_ROI_TOP = 0.9


class RoadSegmenter:
    """A checkpoint, resident on its device, that segments frames of any size.

    `checkpoint` is a file or a loaded one. `device` is auto, cpu, cuda or cuda:N, where auto
    is the first GPU, or else the CPU. `precision` is auto, float32, float16 (GPU only),
    bfloat16 or int8 (CPU only, by OpenVINO, with a calibrated checkpoint), where auto is float16
    on a GPU and float32 on a CPU. `input_hw` overrides the checkpoint's rule for the network's
    input size; both are multiples of 32. `num_threads` is the CPU threads of the whole process, 0
    for as many as PyTorch takes by itself. `backend` is what computes the network: auto, ncnn (on
    a CPU, in float32), openvino (on a CPU) or torch, where auto is the fastest installed for the
    precision. `roi_top`, in [0, MAX_ROI_TOP], is the share of a frame's height that is left out
    at its top: background without a look, and without its share of the time, in steps of the
    network's stride of 32 rows. The rest is seen at the same scale.
    `threshold`, in (0, 1), and `overlay_style` may be set between two calls.

    Not thread-safe: one call at a time.

    Raises:
        CheckpointError: the file is missing, foreign or damaged.
        SegmenterError: no such device, or a precision or backend that the device has not, or a
            checkpoint that is not calibrated, in int8.
        ValueError: `input_hw` is not a size that the network takes, or `roi_top` out of range.
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint,
        device: str = 'auto',
        precision: str = 'auto',
        input_hw: tuple[int, int] | None = None,
        num_threads: int = 0,
        backend: str = 'auto',
        roi_top: float = 0.0,
    ) -> None:
        if not 0 <= roi_top <= MAX_ROI_TOP:
            raise ValueError(f'roi_top {roi_top} is not in [0, {MAX_ROI_TOP}]')
        if num_threads:
            torch.set_num_threads(num_threads)
            cv2.setNumThreads(num_threads)
        self.device = _resolve_device(device)
        self.precision = _resolve_precision(precision, self.device)
        _check_backend(backend, self.device, self.precision)
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(checkpoint)
        if self.precision == 'int8' and checkpoint.activation_peaks is None:
            raise SegmenterError(
                "precision 'int8' needs a calibrated checkpoint, which this one is not; write one "
                'with fcn-road-seg calibrate, or use auto'
            )
        self._is_calibrated = checkpoint.activation_peaks is not None
        self.checkpoint_sha256 = checkpoint.sha256
        self.input_rule = InputRule(fixed_hw=input_hw) if input_hw else checkpoint.input_rule
        self.threshold = checkpoint.threshold
        self.overlay_style = OverlayStyle()
        self._roi_top = roi_top
        model = fold_batch_norm(checkpoint.model).requires_grad_(False)
        self._pipeline: Pipeline
        if self.device.type == 'cuda':
            self._pipeline = CudaPipeline(model, self.device, PRECISIONS[self.precision])
        else:
            network = _cpu_network(model, backend, self.precision, checkpoint)
            self._pipeline = CpuPipeline(network)

    def __call__(
        self,
        frame: np.ndarray,
        *,
        channel_order: str = 'bgr',
        confidence: bool = True,
        overlay: bool = False,
    ) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded (any row stride).

        The road is where p(road) >= threshold. What is not asked for costs nothing.

        Raises:
            ValueError: the frame is of another shape or type, or the order is not bgr or rgb.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(
                f'a frame is (H, W, 3) uint8, this one {frame.shape} {frame.dtype}; convert it'
            )
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f'channel order {channel_order!r} is unknown; use bgr or rgb')
        frame_hw = frame.shape[:2]
        input_hw = self.input_rule.input_hw(frame_hw)
        hidden_rows = round(self._roi_top * frame_hw[0])
        request = SegmentationRequest(
            input_hw=input_hw,
            hidden_input_rows=_hidden_input_rows(hidden_rows, frame_hw[0], input_hw[0]),
            hidden_rows=hidden_rows,
            channel_order=channel_order,
            logit_threshold=logit_threshold(self.threshold),
            confidence=confidence,
            overlay=self.overlay_style if overlay else None,
        )
        with torch.inference_mode():
            return self._pipeline.run(frame, request)

    @property
    def backend(self) -> str:
        """What computes the network, with its version: 'ncnn 1.0.20261020', 'torch 2.15.0'."""
        return self._pipeline.backend

    @property
    def device_name(self) -> str:
        """The device for a human: 'cpu', or with a GPU's name 'cuda:0 (NVIDIA H200)'."""
        if self.device.type != 'cuda':
            return str(self.device)
        return f'{self.device} ({torch.cuda.get_device_name(self.device)})'

    def advice(self) -> str:
        """Return what would be faster on this machine, in words; empty if nothing is known."""
        if self.device.type != 'cpu':
            return ''
        if self.precision == 'bfloat16' and self.backend.startswith('torch'):
            return 'backend openvino (pip install openvino), rounded alike'
        if self.precision != 'float32':
            return ''
        if has_exact_int8() and self._is_calibrated:
            return 'precision int8, by openvino from PyPI; the mask differs slightly'
        if has_fast_bfloat16():
            return 'precision bfloat16, which this CPU has in hardware; the mask differs slightly'
        if self.backend.startswith('torch'):
            return 'backend ncnn (pip install ncnn), with the same mask'
        return ''

    def gpu_memory_mib(self) -> float | None:
        """Return what PyTorch holds of the GPU's memory in this process; None on a CPU."""
        if self.device.type != 'cuda':
            return None
        return torch.cuda.memory_reserved(self.device) / 2**20

    def close(self) -> None:
        """Give the device's memory back; the segmenter is of no use afterwards."""
        del self._pipeline
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def warm_up(self, frame_hw: tuple[int, int] = (375, 1242)) -> None:
        """Segment one black frame, so that the first real one pays no set-up (seconds)."""
        self(np.zeros((*frame_hw, 3), np.uint8), overlay=True)


def _hidden_input_rows(hidden_rows: int, frame_h: int, input_h: int) -> int:
    """Return how many rows of the network's input, in whole strides, hold no visible row."""
    hidden = hidden_rows * input_h // frame_h // OUTPUT_STRIDE * OUTPUT_STRIDE
    return min(hidden, input_h - OUTPUT_STRIDE)
