"""The network on a CPU, by OpenVINO: in float32, bfloat16, int8 or int8_avx2."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from fcn_road_seg.inference.backends.openvino_graph import OpenVinoGraph
from fcn_road_seg.inference.backends.openvino_import import openvino
from fcn_road_seg.inference.interfaces import BackendInfo
from fcn_road_seg.inference.options import INT8_PRECISIONS, SegmenterError
from fcn_road_seg.model.network_weights import NetworkWeights
from fcn_road_seg.utils.cpu_features import has_avx2, has_exact_int8, has_fast_bfloat16

# Each size holds its own copy of the weights, in the order in which its convolutions read them.
KEPT_SIZES = 8

# One core for all networks, kept until the process ends. Each core gives the thread that uses it
# first a stack for signal handlers (OpenVINO prepares for AMX on every CPU). If the older of two
# cores is destroyed first, the younger one restores the older one's stack, which no longer exists,
# and the next signal (Ctrl-C, the end of a child process) causes a segmentation fault.
_CORE = openvino.Core()

_FLOAT_TYPES = {'float32': openvino.Type.f32, 'bfloat16': openvino.Type.bf16}


class OpenVinoBackend:
    """A folded network, in one of OpenVINO's precisions, on `num_threads` threads.

    It is compiled for each new input size, which takes a few tenths of a second and makes it a
    fifth faster; the last KEPT_SIZES sizes are kept. `activation_peaks` are the checkpoint's;
    only int8 and int8_avx2 need them. int8 on a CPU without VNNI or AMX, and int8_avx2 without
    AVX2, are emulated: the numbers are rounded as in int8, but multiplied in float32, which
    takes as long as float32.

    Raises:
        SegmenterError: the CPU does not compute in bfloat16.
    """

    info = BackendInfo('openvino', openvino.__version__.partition('-')[0])

    def __init__(
        self,
        network: NetworkWeights,
        precision: str,
        activation_peaks: tuple[float, ...] | None,
        num_threads: int,
    ) -> None:
        in_int8 = precision in INT8_PRECISIONS
        peaks = activation_peaks if in_int8 else None
        bits = 7 if precision == 'int8_avx2' else 8
        self._model = OpenVinoGraph(network, peaks, bits).model
        # OpenVINO would silently compute in float32.
        can = _CORE.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
        if precision == 'bfloat16' and 'BF16' not in can:
            raise SegmenterError(
                "precision 'bfloat16' needs a CPU with AVX-512 for openvino; use float32"
            )
        # The type of the layers that are not in int8. With AMX, they would take a fifth of the
        # whole time in float32. Without AMX the CPU may emulate bfloat16.
        beside_int8 = 'bfloat16' if has_fast_bfloat16() else 'float32'
        float_type = _FLOAT_TYPES[beside_int8 if in_int8 else precision]
        self._config = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': float_type,
            'INFERENCE_NUM_THREADS': num_threads,
            # With pinning, two nodes would share the same cores.
            'ENABLE_CPU_PINNING': False,
            # Otherwise sums would overflow on a CPU that accumulates in 16 bits.
            'LP_TRANSFORMS_MODE': has_avx2() if bits == 7 else has_exact_int8(),
        }
        self._requests: OrderedDict[tuple[int, int], openvino.InferRequest] = OrderedDict()

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB."""
        request = self._request(frame_rgb.shape[:2])
        request.infer([np.ascontiguousarray(frame_rgb)[None]], share_inputs=True)
        return request.get_output_tensor().data[0]

    def _request(self, input_hw: tuple[int, int]) -> openvino.InferRequest:
        if input_hw not in self._requests:
            if len(self._requests) == KEPT_SIZES:
                self._requests.popitem(last=False)
            self._model.reshape([1, *input_hw, 3])
            compiled = _CORE.compile_model(self._model, 'CPU', self._config)
            self._requests[input_hw] = compiled.create_infer_request()
        self._requests.move_to_end(input_hw)
        return self._requests[input_hw]
