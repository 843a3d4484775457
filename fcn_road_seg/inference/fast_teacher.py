"""A teacher's p(road) for training crops on a CPU, by the fastest library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcn_road_seg.inference.auto_precision import choose_precision
from fcn_road_seg.inference.backends.registry import build_cpu_backend
from fcn_road_seg.inference.options import Device
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.utils.cpu_features import has_bfloat16


def fast_road_logit(
    checkpoint: Checkpoint, say: Callable[[str], object]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return `CpuBackend.road_logit` in the precision that `auto` chooses.

    None if PyTorch is as fast: it is the only library, or `auto` chooses float32 on a CPU on
    which the training itself may be in bfloat16. `say` gets a line of text with the precision.
    """
    width = checkpoint.model.config.width
    precision, _ = choose_precision(Device('cpu'), 'auto', checkpoint.agreements, width)
    if precision == 'float32' and has_bfloat16():
        return None
    network = checkpoint.model.weights().folded()
    backend = build_cpu_backend(network, 'auto', precision, checkpoint.activation_peaks)
    if backend.info.name == 'torch':
        return None
    say(f'on a CPU the teacher computes in {precision}, by {backend.info}')
    return backend.road_logit
