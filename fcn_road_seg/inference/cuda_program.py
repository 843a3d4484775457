"""What the GPU does with one frame between its upload and the download of its results."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.inference.cuda_resize import CudaResize
from fcn_road_seg.inference.interfaces import Segmentation, SegmentationRequest
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit

# Threshold, the frame's share of the overlay, the colour's share of it (3): float32, before
# the frame's bytes, which so begin at a multiple of 32 as vector loads like it.
_STYLE_BYTES = 32


class CudaProgram:
    """The way of every frame of one size and one kind of request, in tensors of fixed size.

    `uploaded` holds what `stage` writes, `results` what `segmentation` reads, both 1-D uint8 on
    the model's device. A call computes one from the other. It neither waits for the device nor
    branches by data, so that it can be captured as a CUDA graph; and it does the same on a CPU,
    where the tests compare it with OpenCV. A request's threshold and overlay style may differ
    from frame to frame: they travel with it. The rest is `kind_of` the request.

    It works in float32 up to the network and after it: 16 bits cost accuracy inside of it alone.
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
        std = torch.tensor(model.config.std, device=device)
        self._gain = 1 / (255 * std)
        self._shift = -torch.tensor(model.config.mean, device=device) / std
        pixels = frame_hw[0] * frame_hw[1]
        self.uploaded = torch.empty(_STYLE_BYTES + 3 * pixels, dtype=torch.uint8, device=device)
        style = self.uploaded[:_STYLE_BYTES].view(torch.float32)
        self._threshold, self._frame_share, self._tint_bgr = style[0:1], style[1:2], style[2:5]
        self._frame = self.uploaded[_STYLE_BYTES:].view(self._frame_shape)
        # Behind one another, so that one copy brings them all.
        sizes = [pixels, pixels * request.confidence, 3 * pixels * (request.overlay is not None)]
        self._result_ends = np.cumsum(sizes).tolist()
        self.results = torch.empty(sum(sizes), dtype=torch.uint8, device=device)

    def stage(self, frame: np.ndarray, request: SegmentationRequest, staged: np.ndarray) -> None:
        """Write a frame, whose rows may be padded, with its style, as `uploaded` has them."""
        style = staged[:_STYLE_BYTES].view(np.float32)
        style[0] = request.logit_threshold
        if request.overlay is not None:
            style[1] = 1 - request.overlay.alpha
            style[2:5] = request.overlay.color_rgb[::-1]
            style[2:5] *= np.float32(request.overlay.alpha)
        np.copyto(staged[_STYLE_BYTES:].reshape(self._frame_shape), frame)

    def segmentation(self, downloaded: np.ndarray) -> Segmentation:
        """Return the parts of a copy of `results`, as views."""
        mask, confidence, overlay, _ = np.split(downloaded, self._result_ends)
        return Segmentation(
            mask.reshape(self._frame_shape[:2]),
            confidence.reshape(self._frame_shape[:2]) if confidence.size else None,
            overlay.reshape(self._frame_shape) if overlay.size else None,
        )

    def __call__(self) -> None:
        """Compute `results` from `uploaded`."""
        self.write_results(self.frame_logit(self.input_logit(self.network_input())))

    def network_input(self) -> Tensor:
        """Return the normalised input [1, 3, h, w], channels_last, of the network's type."""
        frame_rgb = self._resize(self._frame)[self._hidden_input_rows :]
        x = torch.addcmul(self._shift, frame_rgb, self._gain)
        # A picture's rows of RGB are the layout of channels_last.
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
        mask, confidence, overlay, _ = self.results.tensor_split(self._result_ends)
        road = logit >= self._threshold
        mask.view(road.shape).copy_(road).mul_(255)
        if confidence.numel():
            p_road = torch.sigmoid(logit)
            confidence.view(road.shape).copy_(p_road.mul_(255).round_())
        if overlay.numel():
            frame_bgr = self._frame if self._is_bgr else self._frame.flip(2)
            # Rounded as OpenCV does, which multiplies and adds at once where the CPU can, like
            # a GPU; where it cannot, one value of thousands is a level off.
            blended = torch.addcmul(self._tint_bgr, frame_bgr, self._frame_share).round_()
            painted = torch.where(road[..., None], blended.to(torch.uint8), frame_bgr)
            overlay.view(self._frame_shape).copy_(painted)


def kind_of(frame_hw: tuple[int, int], request: SegmentationRequest) -> tuple[object, ...]:
    """Return what two frames and requests have in common that can share a program."""
    return (
        frame_hw,
        request.input_hw,
        request.hidden_input_rows,
        request.hidden_rows,
        request.channel_order,
        request.confidence,
        request.overlay is not None,
    )
