"""The network on a CPU, by ncnn: float32, with Winograd convolutions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import ncnn
import numpy as np

from fcn_road_seg.inference.backends.ncnn_graph import INPUT, OUTPUT, NcnnGraph
from fcn_road_seg.inference.interfaces import BackendInfo
from fcn_road_seg.model.network_weights import NetworkWeights


class NcnnError(RuntimeError):
    """ncnn cannot read or run the network."""


class NcnnBackend:
    """A folded network, in float32, on `num_threads` threads.

    Raises:
        NcnnError: this version of ncnn cannot read the network.
    """

    info = BackendInfo('ncnn', ncnn.__version__)

    def __init__(self, network: NetworkWeights, num_threads: int) -> None:
        table = network.normalise_table()
        self._normalise_luts = [np.ascontiguousarray(table[..., c]) for c in range(3)]
        self._input_chw = np.empty((3, 0, 0), np.float32)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = num_threads
        # The mask must be that of float32, but Winograd's 8 x 8 tiles, F(6, 3), lose precision.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        options.use_winograd63_convolution = False
        graph = NcnnGraph(network)
        if self._net.load_param_mem(graph.text()):
            raise NcnnError(f'{self.info} cannot read the network; try another version')
        # ncnn reads weights from files only. Every start writes these 62 MB, in 0.1 s. A cached
        # file saved nothing: all of this took 0.54 s without it, and 0.58 s with it and a check
        # of its hash (medians of 9).
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'weights.bin'
            with path.open('wb') as file:
                file.writelines(graph.weights())
            if self._net.load_model(str(path)):
                raise NcnnError(f'{self.info} cannot read the weights; try another version')

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB.

        Raises:
            NcnnError: ncnn is out of memory.
        """
        if self._input_chw.shape[1:] != frame_rgb.shape[:2]:
            self._input_chw = np.empty((3, *frame_rgb.shape[:2]), np.float32)
        for channel, lut in enumerate(self._normalise_luts):
            cv2.LUT(frame_rgb[..., channel], lut, dst=self._input_chw[channel])
        extractor = self._net.create_extractor()
        extractor.input(INPUT, ncnn.Mat(self._input_chw))
        status, logit = extractor.extract(OUTPUT)
        if status:
            raise NcnnError(f'{self.info} cannot run the network (status {status})')
        return np.array(logit)[0]
