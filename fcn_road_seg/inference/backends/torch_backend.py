"""The network on a CPU, by PyTorch: in float32, bfloat16 or float16."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from fcn_road_seg.inference.interfaces import BackendInfo
from fcn_road_seg.model.network_weights import NetworkWeights
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit


class TorchBackend:
    """A folded network, channels_last, in a floating-point precision."""

    info = BackendInfo('torch', torch.__version__)

    def __init__(self, network: NetworkWeights, precision: str) -> None:
        # A look-up table writes RGB rows, the memory layout of channels_last.
        self._normalise_lut = network.normalise_table()
        self._dtype = getattr(torch, precision)
        model = RoadFCN.from_weights(network).to(self._dtype)
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self._input_hwc = np.empty((0, 0, 3), np.float32)

    @torch.inference_mode()
    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB."""
        if self._input_hwc.shape != frame_rgb.shape:
            self._input_hwc = np.empty(frame_rgb.shape, np.float32)
        cv2.LUT(frame_rgb, self._normalise_lut, dst=self._input_hwc)
        x = torch.from_numpy(self._input_hwc).permute(2, 0, 1)[None].to(self._dtype)
        # The caller's autocast would round to 16 bits, whatever the precision is.
        with torch.autocast('cpu', enabled=False):
            return road_logit(self._model.scores_of_normalised(x))[0].numpy()
