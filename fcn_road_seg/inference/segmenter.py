"""`RoadSegmenter`: a uint8 frame in, its road mask, probabilities and overlay out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcn_road_seg.inference.auto_precision import PrecisionChoice, choose_precision
from fcn_road_seg.inference.backends.registry import build_cpu_backend
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.interfaces import (
    MAX_ROI_TOP,
    BackendInfo,
    OverlayStyle,
    Pipeline,
    Segmentation,
    SegmentationRequest,
)
from fcn_road_seg.inference.options import (
    INT8_PRECISIONS,
    Device,
    SegmenterError,
    check_backend,
    check_precision,
    resolve_device,
)
from fcn_road_seg.inference.overlay import OverlayPainter
from fcn_road_seg.inference.small_regions import remove_small_regions
from fcn_road_seg.model.checkpoint_file import CheckpointOf, StoredCheckpoint, read_checkpoint
from fcn_road_seg.model.input_rule import InputRule, logit_threshold
from fcn_road_seg.model.network_config import OUTPUT_STRIDE
from fcn_road_seg.model.shipped_checkpoints import DEFAULT, checkpoint_path
from fcn_road_seg.utils.cpu_features import has_exact_int8

if TYPE_CHECKING:
    from fcn_road_seg.model.checkpoint import Checkpoint

CHANNEL_ORDERS = ('bgr', 'rgb')

# What to use instead of PyTorch on a CPU, by precision.
_ADVICE = {
    'float32': 'backend ncnn (pip install ncnn), with the same mask',
    'bfloat16': 'backend openvino (pip install openvino), with the same rounding',
}


class RoadSegmenter:
    """A checkpoint on its device, which segments frames of any size.

    Args:
        checkpoint: a file, a loaded checkpoint, or the name of a shipped one: '' is the default
            one, lite the light one (see `checkpoint_path`).
        device: auto, cpu, cuda or cuda:N; auto is the first GPU, or else the CPU.
        precision: auto, float32, float16 (GPU only), bfloat16, int8 or int8_avx2 (both CPU only,
            by OpenVINO, with a calibrated checkpoint); auto is the fastest one here whose masks
            agree with float32's (see `choose_precision`). On a CPU, float16 needs backend torch,
            and is slow; without VNNI or AMX, int8 is emulated, and as slow as OpenVINO's float32.
        input_hw: the network's input size in multiples of 32, instead of the checkpoint's rule.
        backend: the library that runs the network: auto, ncnn (CPU, float32), openvino (CPU) or
            torch; auto is the fastest one installed for the precision. On a CPU it uses as many
            threads as PyTorch (see `cpu_thread_count`), which is imported only for torch or a GPU.
        roi_top: share of the frame's height, in [0, MAX_ROI_TOP], to skip at the top. These rows
            are background; skipping them saves time, in steps of 32 rows of the network's input.
            The scale of the other rows stays the same.

    `threshold`, in (0, 1), `overlay_style` and `min_region` (see `remove_small_regions`) may be
    set between two calls. `precision` is the precision in use, `precision_reason` says why.

    Not thread-safe: one call at a time. With ncnn or openvino it cannot be pickled. In a process
    forked after a call, calls with ncnn or torch may wait forever, because OpenMP's threads exist
    in the parent only. Start processes with spawn, and make a segmenter in each.

    Raises:
        CheckpointError: the file is missing, damaged or not a checkpoint.
        SegmenterError: there is no such device, precision or backend, they cannot be combined, or
            int8 or int8_avx2 is asked for with a checkpoint that is not calibrated.
        ValueError: the network does not support `input_hw`, or `roi_top` is out of range.
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint = DEFAULT,
        device: str = 'auto',
        precision: str = 'auto',
        input_hw: tuple[int, int] | None = None,
        backend: str = 'auto',
        roi_top: float = 0.0,
    ) -> None:
        if not 0 <= roi_top <= MAX_ROI_TOP:
            raise ValueError(f'roi_top {roi_top} is not in [0, {MAX_ROI_TOP}]; use 0 for all rows')
        self.device = resolve_device(device)
        if precision != 'auto':
            check_precision(precision, self.device)
        # auto can always fall back to float32.
        check_backend(backend, self.device, 'float32' if precision == 'auto' else precision)
        if isinstance(checkpoint, CheckpointOf):
            stored = checkpoint.with_model(checkpoint.model.weights())
        else:
            stored = read_checkpoint(checkpoint_path(checkpoint))
        chosen = _choose(precision, self.device, backend, stored)
        self.precision, self.precision_reason = chosen
        self.checkpoint_sha256, self.licence = stored.sha256, stored.provenance.licence
        self.input_rule = InputRule(fixed_hw=input_hw) if input_hw else stored.input_rule
        self.threshold = stored.threshold
        self.overlay_style = OverlayStyle()
        self.min_region = 0.0
        self._painter = OverlayPainter()
        self._roi_top = roi_top
        self._pipeline = _build_pipeline(stored, self.device, backend, self.precision)

    def __call__(
        self,
        frame: np.ndarray,
        *,
        channel_order: str = 'bgr',
        road_probability: bool = False,
        confidence: bool = True,
        overlay: bool = False,
        pixels: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded (any row stride).

        Road is where p(road) >= `threshold`. `channel_order` is bgr or rgb. `road_probability`,
        `confidence` and `overlay` cost time only if they are asked for. `pixels`, (N,) intp, are
        the row-major indices of the pixels for `road_probability_at`.

        Raises:
            ValueError: the frame has another shape or type, the channel order is unknown, or
                `threshold` is out of range.
        """
        _check_frame(frame, channel_order)
        frame_hw = frame.shape[:2]
        input_hw = self.input_rule.input_hw(frame_hw)
        hidden_rows = round(self._roi_top * frame_hw[0])
        style = self.overlay_style if overlay else None
        # Another thread may set it while the network runs.
        min_region = self.min_region
        request = SegmentationRequest(
            input_hw=input_hw,
            hidden_input_rows=_hidden_input_rows(hidden_rows, frame_hw[0], input_hw[0]),
            hidden_rows=hidden_rows,
            channel_order=channel_order,
            logit_threshold=logit_threshold(self.threshold),
            road_probability=road_probability,
            confidence=confidence,
            # If small regions are to be removed, the overlay is painted after that.
            overlay=None if min_region else style,
            pixels=pixels,
        )
        segmentation = self._pipeline.run(frame, request)
        if not min_region:
            return segmentation
        remove_small_regions(mask := segmentation.mask, min_region)
        # If the hidden rows were such a region, they have become road.
        mask[:hidden_rows] = 0
        painted = self._painter.paint(frame, channel_order, mask, style) if style else None
        return replace(segmentation, overlay_bgr=painted)

    @property
    def backend(self) -> BackendInfo:
        """The library that runs the network."""
        return self._pipeline.backend

    @property
    def device_name(self) -> str:
        """The device as text: 'cpu' or, with the GPU's name, 'cuda:0 (NVIDIA H200)'."""
        if self.device.type != 'cuda':
            return str(self.device)
        import torch

        return f'{self.device} ({torch.cuda.get_device_name(str(self.device))})'

    def advice(self) -> str:
        """Return advice on what would be faster on a CPU; '' if nothing is known to be."""
        return _advice(self.precision, self.backend.name) if self.device.type == 'cpu' else ''

    def gpu_memory_mib(self) -> float | None:
        """Return the GPU memory that PyTorch reserves in this process, in MiB; None on a CPU."""
        if self.device.type != 'cuda':
            return None
        import torch

        return torch.cuda.memory_reserved(str(self.device)) / 2**20

    def close(self) -> None:
        """Release the device's memory; the segmenter cannot be used afterwards, only closed."""
        # Not `del`, which would fail the second time.
        vars(self).pop('_pipeline', None)
        if self.device.type == 'cuda':
            import torch

            torch.cuda.empty_cache()

    def warm_up(self, frame_hw: tuple[int, int] = (375, 1242)) -> None:
        """Segment one black frame: the first frame takes seconds more than those that follow."""
        self(np.zeros((*frame_hw, 3), np.uint8), overlay=True)


def _choose(
    precision: str, device: Device, backend: str, checkpoint: StoredCheckpoint
) -> PrecisionChoice:
    chosen = PrecisionChoice(precision, 'requested explicitly')
    if precision == 'auto':
        width = checkpoint.model.config.width
        chosen = choose_precision(device, backend, checkpoint.agreements, width)
    if chosen.precision in INT8_PRECISIONS and checkpoint.activation_peaks is None:
        raise SegmenterError(
            f'precision {chosen.precision!r} needs a calibrated checkpoint, but this one is not; '
            'write one with fcn-road-seg calibrate, or use auto'
        )
    return chosen


def _build_pipeline(
    checkpoint: StoredCheckpoint, device: Device, backend: str, precision: str
) -> Pipeline:
    network = checkpoint.model.folded()
    if device.type == 'cpu':
        peaks = checkpoint.activation_peaks
        return CpuPipeline(build_cpu_backend(network, backend, precision, peaks))
    # Imports PyTorch.
    from fcn_road_seg.inference.cuda_pipeline import build_cuda_pipeline

    return build_cuda_pipeline(network, str(device), precision)


def _advice(precision: str, backend: str) -> str:
    if precision == 'int8' and not has_exact_int8():
        return 'precision auto; without VNNI or AMX, int8 is emulated'
    return _ADVICE.get(precision, '') if backend == 'torch' else ''


def _check_frame(frame: np.ndarray, channel_order: str) -> None:
    if not isinstance(frame, np.ndarray):
        # OpenCV's imread returns None for a file that it cannot read.
        raise ValueError(f'frame is {frame!r:.80}, not (H, W, 3) uint8; read the image first')
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f'frame is {frame.shape} {frame.dtype}, not (H, W, 3) uint8; convert it')
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f'channel order {channel_order!r} is unknown; use bgr or rgb')


def _hidden_input_rows(hidden_rows: int, frame_h: int, input_h: int) -> int:
    """Return how many rows of the network's input, in whole strides, show hidden rows only."""
    hidden = hidden_rows * input_h // frame_h // OUTPUT_STRIDE * OUTPUT_STRIDE
    return min(hidden, input_h - OUTPUT_STRIDE)
