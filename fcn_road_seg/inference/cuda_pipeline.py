"""The pipeline of a GPU: one CUDA graph for each kind of frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcn_road_seg.inference.cuda_program import CudaProgram, frame_kind
from fcn_road_seg.inference.interfaces import BackendInfo, Segmentation, SegmentationRequest
from fcn_road_seg.model.network_weights import NetworkWeights
from fcn_road_seg.model.road_fcn import RoadFCN

# A camera has eight kinds of frame: road probability, confidence and overlay are each computed or
# not, depending on the topics' subscribers.
_KEPT_PROGRAMS = 8


@dataclass
class _Slot:
    """A program, the pinned memory from which it uploads, and its graph once it is captured."""

    program: CudaProgram
    staging: Tensor
    has_run: bool = False
    captures: bool = True
    graph: torch.cuda.CUDAGraph | None = None

    def compute(self) -> None:
        self.program.uploaded.copy_(self.staging, non_blocking=True)
        self.program()


def build_cuda_pipeline(network: NetworkWeights, device: str, precision: str) -> CudaPipeline:
    """Return the pipeline of a folded network on a GPU such as cuda:0."""
    model = RoadFCN.from_weights(network)
    return CudaPipeline(model, torch.device(device), getattr(torch, precision))


class CudaPipeline:
    """All steps from a frame to its results, around a folded network in float32 or 16 bits.

    Upload and program are one CUDA graph for each kind of frame. It is captured at the second
    frame of that kind, so that a size that occurs only once costs no capture. Any thread may call
    the pipeline, one at a time.
    """

    backend = BackendInfo('torch', torch.__version__)
    # cuDNN's settings apply to the whole process, but each thread may have a pipeline.
    _cudnn_settings = threading.Lock()

    def __init__(self, model: RoadFCN, device: torch.device, dtype: torch.dtype) -> None:
        self._is_exact = dtype == torch.float32
        self._device_type = device.type
        # All work of this pipeline runs on one stream, in order, even the conversion of the
        # weights: no event and no record_stream is needed. On a CPU (in tests) it is None.
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        # Captures have a stream of their own: if a caller frees a result during a capture,
        # PyTorch records an event on the result's stream, which would become part of the graph.
        self._capture_stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        self._slots: dict[tuple[object, ...], _Slot] = {}
        with torch.cuda.stream(self._stream):
            self._model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    @torch.inference_mode()
    def run(self, frame: np.ndarray, request: SegmentationRequest) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded (any row stride).

        Raises:
            RuntimeError: the GPU is out of memory, or has failed.
        """
        # This also selects the stream's device: both are settings of the current thread. So is
        # autocast, with which the caller would change the precision.
        with torch.cuda.stream(self._stream), torch.autocast(self._device_type, enabled=False):
            slot = self._slot(frame, request)
            slot.program.stage(frame, request, slot.staging.numpy())
            if slot.captures and slot.has_run and self._stream is not None:
                # Only once: if the capture fails, this frame fails, and the next ones run
                # without a graph.
                slot.captures = False
                slot.graph = self._capture(slot)
            if slot.graph is None:
                with self._arithmetic():
                    slot.compute()
            else:
                slot.graph.replay()
            result = self._download(slot.program)
        slot.has_run = True
        return result

    def _slot(self, frame: np.ndarray, request: SegmentationRequest) -> _Slot:
        kind = frame_kind(frame.shape[:2], request)
        slot = self._slots.pop(kind, None)
        if slot is None:
            if len(self._slots) == _KEPT_PROGRAMS:
                del self._slots[next(iter(self._slots))]
            program = CudaProgram(self._model, frame.shape[:2], request)
            slot = _Slot(program, self._host_bytes(program.uploaded.numel()))
        # Inserted at the end: the first one is the least recently used.
        self._slots[kind] = slot
        return slot

    def _capture(self, slot: _Slot) -> torch.cuda.CUDAGraph:
        # The graphs share one memory pool: they run one at a time and keep nothing in it, since
        # a program's inputs and results lie outside. The pool lives as long as one of them.
        # (No program uses cuBLAS, whose workspace would be freed with a dropped slot.)
        graphs = (other.graph for other in self._slots.values())
        pool = next((graph.pool() for graph in graphs if graph is not None), None)
        graph = torch.cuda.CUDAGraph()
        with self._arithmetic():
            # Run once before the capture, which can neither choose algorithms nor load kernels;
            # cuDNN's choice in another thread is not valid in this one.
            slot.compute()
            # Thread-local: other threads may use the GPU during the capture.
            with torch.cuda.graph(
                graph,
                pool=pool,
                stream=self._capture_stream,
                capture_error_mode='thread_local',
            ):
                slot.compute()
        return graph

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        # TF32, PyTorch's default for convolutions, has a 10-bit mantissa and would change the
        # mask. In 16 bits cuDNN measures which algorithm is fastest; in float32 it does not, so
        # that every process computes the same mask. Not cudnn.flags: it fails if the process has
        # set torch.backends.fp32_precision.
        cudnn = torch.backends.cudnn
        settings: list[tuple[Any, str, object]] = [
            (cudnn, 'enabled', True),
            (cudnn, 'benchmark', not self._is_exact),
            (cudnn, 'deterministic', self._is_exact),
        ]
        if self._is_exact and hasattr(cudnn, 'conv'):  # PyTorch 2.9 and newer
            settings.append((cudnn.conv, 'fp32_precision', 'ieee'))
        elif self._is_exact:
            settings.append((cudnn, 'allow_tf32', False))
        with self._cudnn_settings:
            before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
            try:
                _assign(settings)
                yield
            finally:
                _assign(before)

    def _download(self, program: CudaProgram) -> Segmentation:
        # Into new pinned memory, which the caller may keep. PyTorch caches it when it is freed, so
        # nothing is copied and, after the first frames, nothing is allocated.
        downloaded = self._host_bytes(program.results.numel())
        downloaded.copy_(program.results, non_blocking=True)
        if self._stream is not None:
            # The frame's only CPU-GPU sync. It spins, as a sleeping thread wakes up late.
            self._stream.synchronize()
        return program.segmentation(downloaded.numpy())

    def _host_bytes(self, count: int) -> Tensor:
        # The caller may have set another default device.
        pin = self._stream is not None
        return torch.empty(count, dtype=torch.uint8, device='cpu', pin_memory=pin)


def _assign(settings: list[tuple[Any, str, object]]) -> None:
    for owner, name, value in settings:
        setattr(owner, name, value)
