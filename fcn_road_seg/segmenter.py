"""Frames in, road masks out: the network with everything around it, on a CPU or a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.checkpoint import Checkpoint, InputRule, load_checkpoint
from fcn_road_seg.model import RoadFCN, fold_batch_norm, road_logit

CHANNEL_ORDERS = ('bgr', 'rgb')
PRECISIONS = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}


class SegmenterError(ValueError):
    """The device or the precision asked for cannot be had on this machine."""


@dataclass(frozen=True)
class OverlayStyle:
    """How road is painted: `color_rgb` in [0, 255], mixed in by `alpha` in [0, 1]."""

    color_rgb: tuple[int, int, int] = (0, 255, 0)
    alpha: float = 0.4


@dataclass(frozen=True)
class Segmentation:
    """What was asked for, each at the frame's size.

    `mask` is (H, W) uint8, 255 = road; `confidence` (H, W) uint8, round(255 * p(road));
    `overlay_bgr` (H, W, 3) uint8.
    """

    mask: np.ndarray
    confidence: np.ndarray | None = None
    overlay_bgr: np.ndarray | None = None


@dataclass(frozen=True)
class _Request:
    input_hw: tuple[int, int]
    channel_order: str
    logit_threshold: float
    confidence: bool
    overlay: OverlayStyle | None


class _Pipeline(Protocol):
    def run(self, frame: np.ndarray, request: _Request) -> Segmentation: ...


class RoadSegmenter:
    """A checkpoint, resident on its device, that segments frames of any size.

    `checkpoint` is a file or a loaded one. `device` is auto, cpu, cuda or cuda:N, where auto
    is the first GPU, or else the CPU. `precision` is auto, float32, float16 (GPU only) or
    bfloat16, where auto is float16 on a GPU and float32 on a CPU. `input_hw` overrides the
    checkpoint's rule for the network's input size; both are multiples of 32. `num_threads`
    is the CPU threads of the whole process, 0 for as many as PyTorch takes by itself.
    `threshold`, in (0, 1), and `overlay_style` may be set between two calls.

    Not thread-safe: one call at a time.

    Raises:
        CheckpointError: the file is missing, foreign or damaged.
        SegmenterError: no such device, or a precision that the device has not.
        ValueError: `input_hw` is not a size that the network takes.
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint,
        device: str = 'auto',
        precision: str = 'auto',
        input_hw: tuple[int, int] | None = None,
        num_threads: int = 0,
    ) -> None:
        if num_threads:
            torch.set_num_threads(num_threads)
            cv2.setNumThreads(num_threads)
        self.device = _resolve_device(device)
        self.precision = _resolve_precision(precision, self.device)
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(checkpoint)
        self.checkpoint_sha256 = checkpoint.sha256
        self.input_rule = InputRule(fixed_hw=input_hw) if input_hw else checkpoint.input_rule
        self.threshold = checkpoint.threshold
        self.overlay_style = OverlayStyle()
        model = fold_batch_norm(checkpoint.model).requires_grad_(False)
        pipeline = _CpuPipeline if self.device.type == 'cpu' else _TorchPipeline
        self._pipeline: _Pipeline = pipeline(model, self.device, PRECISIONS[self.precision])

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
        h, w = frame.shape[:2]
        request = _Request(
            input_hw=self.input_rule.input_hw((h, w)),
            channel_order=channel_order,
            logit_threshold=math.log(self.threshold / (1 - self.threshold)),
            confidence=confidence,
            overlay=self.overlay_style if overlay else None,
        )
        with torch.inference_mode():
            return self._pipeline.run(frame, request)

    @property
    def device_name(self) -> str:
        """The device for a human: 'cpu', or with a GPU's name 'cuda:0 (NVIDIA H200)'."""
        if self.device.type != 'cuda':
            return str(self.device)
        return f'{self.device} ({torch.cuda.get_device_name(self.device)})'

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


class _CpuPipeline:
    """OpenCV on uint8 around a folded, channels_last network."""

    def __init__(self, model: RoadFCN, device: torch.device, dtype: torch.dtype) -> None:
        # Normalising is a function of 256 values a channel: the table holds the network's own,
        # and looking them up writes RGB rows in the layout that channels_last wants.
        values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
        table = model.normalise(values).permute(1, 2, 0)
        self._normalise_lut = np.ascontiguousarray(table.numpy())
        self._dtype = dtype
        self._model = model.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self._input_hwc = np.empty((0, 0, 3), np.float32)
        self._tint = np.empty((0, 0, 3), np.uint8)

    def run(self, frame: np.ndarray, request: _Request) -> Segmentation:
        frame_wh = frame.shape[1::-1]
        logit = cv2.resize(
            self._network_logit(frame, request), frame_wh, interpolation=cv2.INTER_LINEAR
        )
        # Not cv2.compare: it takes a scalar beside a 1 x 1 or 4 x 1 frame for an array.
        mask = (logit >= request.logit_threshold).view(np.uint8) * np.uint8(255)
        confidence = _confidence(torch.from_numpy(logit)).numpy() if request.confidence else None
        overlay = None
        if request.overlay is not None:
            overlay = self._overlay(_as_bgr(frame, request), mask, request.overlay)
        return Segmentation(mask, confidence, overlay)

    def _network_logit(self, frame: np.ndarray, request: _Request) -> np.ndarray:
        h, w = request.input_hw
        # Reducing by area averages what a plain bilinear look-up would skip (aliasing).
        reduces = h < frame.shape[0] and w < frame.shape[1]
        method = cv2.INTER_AREA if reduces else cv2.INTER_LINEAR
        small = cv2.resize(frame, (w, h), interpolation=method)
        if request.channel_order == 'bgr':
            cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=small)
        if self._input_hwc.shape[:2] != (h, w):
            self._input_hwc = np.empty((h, w, 3), np.float32)
        cv2.LUT(small, self._normalise_lut, dst=self._input_hwc)
        x = torch.from_numpy(self._input_hwc).permute(2, 0, 1)[None].to(self._dtype)
        return road_logit(self._model.scores_of_normalised(x))[0].numpy()

    def _overlay(self, frame_bgr: np.ndarray, mask: np.ndarray, style: OverlayStyle) -> np.ndarray:
        color_bgr = style.color_rgb[::-1]
        if self._tint.shape != frame_bgr.shape or tuple(self._tint[0, 0]) != color_bgr:
            self._tint = np.full_like(frame_bgr, color_bgr)
        blended = cv2.addWeighted(frame_bgr, 1 - style.alpha, self._tint, style.alpha, 0)
        return cv2.copyTo(blended, mask, frame_bgr.copy())


class _TorchPipeline:
    """Everything between the frame's upload and the results' download on the device."""

    def __init__(self, model: RoadFCN, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype
        self._mean, self._std = model.mean.to(device), model.std.to(device)
        self._model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    def run(self, frame: np.ndarray, request: _Request) -> Segmentation:
        uploaded = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device)
        pixels = uploaded.permute(2, 0, 1)[None]
        bgr = pixels if request.channel_order == 'bgr' else pixels.flip(1)
        logit = self._logit(bgr.flip(1), request.input_hw)
        road = logit >= request.logit_threshold
        results = [road.to(torch.uint8) * 255]
        if request.confidence:
            results.append(_confidence(logit))
        if request.overlay is not None:
            results.append(self._overlay(bgr[0], road, request.overlay))
        arrays = iter(self._download(results))
        return Segmentation(
            mask=next(arrays),
            confidence=next(arrays) if request.confidence else None,
            overlay_bgr=next(arrays) if request.overlay is not None else None,
        )

    def _logit(self, frame_rgb: Tensor, input_hw: tuple[int, int]) -> Tensor:
        # In float32 up to the network, so that 16 bits cost accuracy only inside of it.
        x = functional.interpolate(
            frame_rgb.float() / 255, input_hw, mode='bilinear', antialias=True
        )
        x = ((x - self._mean) / self._std).to(self._dtype)
        scores = self._model.scores_of_normalised(x.contiguous(memory_format=torch.channels_last))
        logit = road_logit(scores)[:, None]
        return functional.interpolate(logit, frame_rgb.shape[-2:], mode='bilinear')[0, 0]

    def _overlay(self, bgr: Tensor, road: Tensor, style: OverlayStyle) -> Tensor:
        color_bgr = torch.tensor(style.color_rgb[::-1], device=self._device).view(3, 1, 1)
        blended = (bgr * (1 - style.alpha) + color_bgr * style.alpha).round().to(torch.uint8)
        return torch.where(road, blended, bgr).permute(1, 2, 0)

    def _download(self, results: list[Tensor]) -> list[np.ndarray]:
        # Pinned, so that the copies queue behind one another and the host waits once.
        pinned = self._device.type == 'cuda'
        staged = [torch.empty(r.shape, dtype=r.dtype, pin_memory=pinned) for r in results]
        for host, result in zip(staged, results, strict=True):
            host.copy_(result, non_blocking=True)
        if pinned:
            torch.cuda.current_stream(self._device).synchronize()
        return [host.numpy() for host in staged]


def _confidence(logit: Tensor) -> Tensor:
    return torch.sigmoid(logit).mul_(255).round_().to(torch.uint8)


def _as_bgr(frame: np.ndarray, request: _Request) -> np.ndarray:
    if request.channel_order == 'bgr':
        return frame
    return cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)


def _resolve_device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SegmenterError(
            f'device {name!r} is unknown; use auto, cpu, cuda or cuda:N'
        ) from error
    if device.type not in ('cpu', 'cuda'):
        raise SegmenterError(f'device {name!r} is not supported; use auto, cpu, cuda or cuda:N')
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise SegmenterError(
                f'device {name!r} is not here ({count} GPUs usable); use auto or cpu'
            )
    return device


def _resolve_precision(name: str, device: torch.device) -> str:
    if name == 'auto':
        # On most CPUs bfloat16 is emulated, many times slower: never chosen unasked.
        return 'float16' if device.type == 'cuda' else 'float32'
    if name not in PRECISIONS:
        raise SegmenterError(f'precision {name!r} is unknown; use auto or {", ".join(PRECISIONS)}')
    if name == 'float16' and device.type == 'cpu':
        raise SegmenterError("precision 'float16' needs a GPU; use auto or float32 on a CPU")
    return name
