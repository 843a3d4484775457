"""The backend that runs the network on a CPU: chosen by name, imported, built."""

from __future__ import annotations

from fcn_road_seg.inference.cpu_threads import cpu_thread_count
from fcn_road_seg.inference.interfaces import CpuBackend
from fcn_road_seg.inference.options import (
    FASTEST_BACKENDS,
    INT8_PRECISIONS,
    SegmenterError,
)
from fcn_road_seg.model.network_weights import NetworkWeights


def build_cpu_backend(
    network: NetworkWeights,
    backend: str,
    precision: str,
    activation_peaks: tuple[float, ...] | None,
) -> CpuBackend:
    """Return a backend for a folded network, on `cpu_thread_count` threads.

    `backend` and `precision` are names that `check_backend` accepts; auto is the fastest backend
    installed. `activation_peaks` are the checkpoint's; only int8 needs them.

    Raises:
        SegmenterError: the backend is not installed.
    """
    wanted = FASTEST_BACKENDS[precision] if backend == 'auto' else backend
    try:
        return _build(wanted, network, precision, activation_peaks)
    except ImportError as error:
        if precision in INT8_PRECISIONS:
            raise SegmenterError(
                f'precision {precision!r} needs openvino ({error}); '
                'pip install openvino, or use auto'
            ) from error
        if backend != 'auto':
            raise SegmenterError(
                f'backend {wanted!r} cannot be imported ({error}); '
                f'pip install {wanted}, or use torch'
            ) from error
    return _build('torch', network, precision, activation_peaks)


def _build(
    backend: str,
    network: NetworkWeights,
    precision: str,
    activation_peaks: tuple[float, ...] | None,
) -> CpuBackend:
    """Return the backend; raise ImportError if it is not installed."""
    if backend == 'ncnn':
        from fcn_road_seg.inference.backends.ncnn_backend import NcnnBackend

        return NcnnBackend(network, cpu_thread_count())
    if backend == 'openvino':
        from fcn_road_seg.inference.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(network, precision, activation_peaks, cpu_thread_count())
    # PyTorch takes more than a second to import.
    from fcn_road_seg.inference.backends.torch_backend import TorchBackend

    return TorchBackend(network, precision)
