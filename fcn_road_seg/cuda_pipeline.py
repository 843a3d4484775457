"""Everything between a frame's upload and its results' download on the GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.model import RoadFCN, road_logit
from fcn_road_seg.segmentation import OverlayStyle, Request, Segmentation


class CudaPipeline:
    """A folded network, channels_last, in float32 or 16 bits, with everything around it."""

    backend = f'torch {torch.__version__}'

    def __init__(self, model: RoadFCN, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype
        self._mean, self._std = model.mean.to(device), model.std.to(device)
        self._model = model.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    def run(self, frame: np.ndarray, request: Request) -> Segmentation:
        uploaded = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device)
        pixels = uploaded.permute(2, 0, 1)[None]
        bgr = pixels if request.channel_order == 'bgr' else pixels.flip(1)
        logit = self._logit(bgr.flip(1), request)
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

    def _logit(self, frame_rgb: Tensor, request: Request) -> Tensor:
        # In float32 up to the network, so that 16 bits cost accuracy only inside of it.
        x = functional.interpolate(
            frame_rgb.float() / 255, request.input_hw, mode='bilinear', antialias=True
        )[:, :, request.hidden_input_rows :]
        x = ((x - self._mean) / self._std).to(self._dtype)
        scores = self._model.scores_of_normalised(x.contiguous(memory_format=torch.channels_last))
        logit = road_logit(scores)[:, None]
        logit = functional.pad(logit, (0, 0, request.hidden_input_rows, 0), mode='replicate')
        logit = functional.interpolate(logit, frame_rgb.shape[-2:], mode='bilinear')[0, 0]
        logit[: request.hidden_rows] = -torch.inf
        return logit

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
