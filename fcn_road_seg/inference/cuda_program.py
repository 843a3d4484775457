"""The computation of one frame on the GPU, from its upload to the download of its results."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.inference.cuda_resize import CudaResize
from fcn_road_seg.inference.interfaces import Segmentation, SegmentationRequest
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit

# Threshold, the frame's share in the overlay, the colour's share (3 values): float32. They lie
# before the frame's bytes, which thus begin at a multiple of 32, as vector loads need.
_STYLE_BYTES = 32


class CudaProgram:
    """The computation of all frames of one `frame_kind`, in tensors of fixed size.

    `stage` writes the bytes for `uploaded`, a call computes `results` from them, and
    `segmentation` reads a copy of `results`; both tensors are 1-D uint8 on the model's device.
    A call neither waits for the device nor branches on data, so that a CUDA graph can capture it.
    It also runs on a CPU, where the tests compare it with OpenCV. Threshold and overlay style
    are uploaded with each frame and may change from frame to frame.

    Only the network computes in 16 bits; all steps before and after it are in float32.
    """

    def __init__(
        self, model: RoadFCN, frame_hw: tuple[int, int], request: SegmentationRequest
    ) -> None:
        self._model = model
        self._hidden_input_rows = request.hidden_input_rows
        self._hidden_rows = request.hidden_rows
        self._is_bgr = request.channel_order == 'bgr'
        self._frame_shape = (*frame_hw, 3)
        weight = next(model.parameters())
        device, self._dtype = weight.device, weight.dtype
        self._resize = CudaResize(frame_hw, request.input_hw, self._is_bgr, device)
        std = torch.tensor(model.config.std, dtype=torch.float32, device=device)
        self._gain = 1 / (255 * std)
        self._shift = -torch.tensor(model.config.mean, dtype=torch.float32, device=device) / std
        pixels = frame_hw[0] * frame_hw[1]
        self.uploaded = torch.empty(_STYLE_BYTES + 3 * pixels, dtype=torch.uint8, device=device)
        style = self.uploaded[:_STYLE_BYTES].view(torch.float32)
        self._threshold, self._frame_share, self._tint_bgr = style[0:1], style[1:2], style[2:5]
        self._frame = self.uploaded[_STYLE_BYTES:].view(self._frame_shape)
        # One tensor, so that one copy downloads all results.
        sizes = [
            pixels,
            pixels * request.road_probability,
            pixels * request.confidence,
            3 * pixels * (request.overlay is not None),
            _count(request.pixels),
        ]
        self._result_ends = np.cumsum(sizes).tolist()
        self.results = torch.empty(sum(sizes), dtype=torch.uint8, device=device)
        self._pixels = torch.empty(sizes[-1], dtype=torch.int64, device=device)
        self._staged_pixels: np.ndarray | None = None

    def stage(self, frame: np.ndarray, request: SegmentationRequest, staged: np.ndarray) -> None:
        """Write the bytes of `uploaded` to `staged`: the frame, threshold and overlay style.

        The pixels of `road_probability_at` are uploaded here, if they are not those of the last
        frame: they stay the same until a camera moves.
        """
        if request.pixels is not None and request.pixels is not self._staged_pixels:
            self._pixels.copy_(torch.from_numpy(request.pixels))
            self._staged_pixels = request.pixels
        style = staged[:_STYLE_BYTES].view(np.float32)
        style[0] = request.logit_threshold
        if request.overlay is not None:
            style[1] = 1 - request.overlay.alpha
            style[2:5] = request.overlay.color_rgb[::-1]
            style[2:5] *= np.float32(request.overlay.alpha)
        np.copyto(staged[_STYLE_BYTES:].reshape(self._frame_shape), frame)

    def segmentation(self, downloaded: np.ndarray) -> Segmentation:
        """Return the results as views of `downloaded`, a copy of `results`."""
        parts = np.split(downloaded, self._result_ends)
        mask, probability, confidence, overlay, probability_at, _ = parts
        frame_hw = self._frame_shape[:2]
        return Segmentation(
            mask.reshape(frame_hw),
            road_probability=probability.reshape(frame_hw) if probability.size else None,
            confidence=confidence.reshape(frame_hw) if confidence.size else None,
            overlay_bgr=overlay.reshape(self._frame_shape) if overlay.size else None,
            road_probability_at=probability_at if probability_at.size else None,
        )

    def __call__(self) -> None:
        """Compute `results` from `uploaded`."""
        self.write_results(self.frame_logit(self.input_logit(self.network_input())))

    def network_input(self) -> Tensor:
        """Return the normalised input [1, 3, h, w], channels_last, in the network's dtype."""
        frame_rgb = self._resize(self._frame)[self._hidden_input_rows :]
        x = torch.addcmul(self._shift, frame_rgb, self._gain)
        # The rows of RGB pixels already have the memory layout of channels_last.
        return x.to(self._dtype).permute(2, 0, 1)[None]

    def input_logit(self, x: Tensor) -> Tensor:
        """Return the logit of p(road) for each pixel of the network's input, [1, h, w] float32."""
        return road_logit(self._model.scores_of_normalised(x))

    def frame_logit(self, logit: Tensor) -> Tensor:
        """Return the logit of p(road) for each pixel of the frame, (H, W) float32."""
        logit = logit[:, None]
        if self._hidden_input_rows:
            logit = functional.pad(logit, (0, 0, self._hidden_input_rows, 0), mode='replicate')
        logit = functional.interpolate(logit, self._frame_shape[:2], mode='bilinear')[0, 0]
        logit[: self._hidden_rows] = -torch.inf
        return logit

    def write_results(self, logit: Tensor) -> None:
        """Fill `results` from the logit at the frame's size."""
        parts = self.results.tensor_split(self._result_ends)
        mask, probability, confidence, overlay, probability_at, _ = parts
        road = logit >= self._threshold
        mask.view(road.shape).copy_(road).mul_(255)
        if probability.numel() or confidence.numel():
            p_road = torch.sigmoid(logit).mul_(255).round_()
            if probability.numel():
                probability.view(road.shape).copy_(p_road)
            if confidence.numel():
                confidence.view(road.shape).copy_(torch.maximum(p_road, 255 - p_road))
        if probability_at.numel():
            p_road = torch.sigmoid(logit.take(self._pixels)).mul_(255).round_()
            probability_at.copy_(p_road)
        if overlay.numel():
            frame_bgr = self._frame if self._is_bgr else self._frame.flip(2)
            # Fused multiply-add, which OpenCV uses on most CPUs; without it, one value in
            # thousands differs by a level.
            blended = torch.addcmul(self._tint_bgr, frame_bgr, self._frame_share).round_()
            painted = torch.where(road[..., None], blended.to(torch.uint8), frame_bgr)
            overlay.view(self._frame_shape).copy_(painted)


def frame_kind(frame_hw: tuple[int, int], request: SegmentationRequest) -> tuple[object, ...]:
    """Return a key; frames and requests with the same key can share a program."""
    return (
        frame_hw,
        request.input_hw,
        request.hidden_input_rows,
        request.hidden_rows,
        request.channel_order,
        request.road_probability,
        request.confidence,
        request.overlay is not None,
        _count(request.pixels),
    )


def _count(pixels: np.ndarray | None) -> int:
    return 0 if pixels is None else pixels.size
