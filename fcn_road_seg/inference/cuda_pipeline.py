"""Everything between a frame's upload and its results' download on the GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fcn_road_seg.inference.cuda_program import CudaProgram, kind_of
from fcn_road_seg.inference.interfaces import BackendInfo, Segmentation, SegmentationRequest
from fcn_road_seg.model.road_fcn import RoadFCN

# A camera has four kinds: with and without confidence and overlay, as its topics are listened to.
_KEPT_PROGRAMS = 8


@dataclass
class _Slot:
    """A program, the pinned memory that it uploads from, and its graph once it has one."""

    program: CudaProgram
    staging: Tensor
    has_run: bool = False
    captures: bool = True
    graph: torch.cuda.CUDAGraph | None = None

    def compute(self) -> None:
        self.program.uploaded.copy_(self.staging, non_blocking=True)
        self.program()


class CudaPipeline:
    """A folded network, channels_last, in float32 or 16 bits, with everything around it.

    Upload and program are one CUDA graph for each kind of frame, captured at its second frame:
    a camera whose size changes with every frame is not slowed by captures. Any thread may call
    it, one at a time.
    """

    backend = BackendInfo('torch', torch.__version__)

    def __init__(self, model: RoadFCN, device: torch.device, dtype: torch.dtype) -> None:
        self._is_exact = dtype == torch.float32
        # All that is of this pipeline runs on one stream, in order, the weights' conversion
        # included, so that no event and no record_stream is needed. None is a CPU's.
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        # Captures have one on which nothing runs: where a caller lets go of a result meanwhile,
        # PyTorch marks the moment on that result's stream, and the mark would be captured.
        self._capture_stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        self._slots: dict[tuple[object, ...], _Slot] = {}
        with torch.cuda.stream(self._stream):
            self._model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    def run(self, frame: np.ndarray, request: SegmentationRequest) -> Segmentation:
        """Segment one (H, W, 3) uint8 frame, whose rows may be padded.

        Raises:
            RuntimeError: the device is out of memory, or has failed.
        """
        # It selects the stream's device, too: both are each thread's own.
        with torch.cuda.stream(self._stream):
            slot = self._slot(frame, request)
            slot.program.stage(frame, request, slot.staging.numpy())
            if slot.captures and slot.has_run and self._stream is not None:
                # Once: where it fails, this frame fails, and those that follow go without one.
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
        kind = kind_of(frame.shape[:2], request)
        slot = self._slots.pop(kind, None)
        if slot is None:
            if len(self._slots) == _KEPT_PROGRAMS:
                del self._slots[next(iter(self._slots))]
            program = CudaProgram(self._model, frame.shape[:2], request)
            slot = _Slot(program, self._host_bytes(program.uploaded.numel()))
        # At the end, as the one used last.
        self._slots[kind] = slot
        return slot

    def _capture(self, slot: _Slot) -> torch.cuda.CUDAGraph:
        # The graphs share their memory: they run one at a time, and leave nothing in it, since
        # what a program takes and gives lies outside. Only a living graph keeps the pool alive.
        # (A slot that is dropped takes no workspace of cuBLAS with it: no program uses that.)
        graphs = (other.graph for other in self._slots.values())
        pool = next((graph.pool() for graph in graphs if graph is not None), None)
        graph = torch.cuda.CUDAGraph()
        with self._arithmetic():
            # Once outside: a capture cannot choose algorithms nor load kernels, and what cuDNN
            # has chosen in another thread does not count in this one.
            slot.compute()
            # Errors are of this thread alone: others may use the GPU meanwhile.
            with torch.cuda.graph(
                graph,
                pool=pool,
                stream=self._capture_stream,
                capture_error_mode='thread_local',
            ):
                slot.compute()
        return graph

    def _arithmetic(self) -> AbstractContextManager[None]:
        # TF32, PyTorch's default in convolutions, has 10 binary digits: it would not give the
        # reference mask. In 16 bits the fastest algorithm is looked for; float32 is the same
        # in every process.
        return torch.backends.cudnn.flags(
            enabled=True,
            benchmark=not self._is_exact,
            deterministic=self._is_exact,
            allow_tf32=False,
        )

    def _download(self, program: CudaProgram) -> Segmentation:
        # Into memory of its own, which the caller keeps as long as it likes and which PyTorch
        # hands out again afterwards: neither a copy nor, after the first frames, an allocation.
        downloaded = self._host_bytes(program.results.numel())
        downloaded.copy_(program.results, non_blocking=True)
        if self._stream is not None:
            # The frame's only wait for the GPU. It spins: a sleeping thread wakes up later.
            self._stream.synchronize()
        return program.segmentation(downloaded.numpy())

    def _host_bytes(self, count: int) -> Tensor:
        return torch.empty(count, dtype=torch.uint8, pin_memory=self._stream is not None)
