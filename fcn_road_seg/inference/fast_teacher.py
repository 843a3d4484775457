"""A teacher's p(road) for training crops on a CPU, in a fast precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fcn_road_seg.inference.auto_precision import choose_precision
from fcn_road_seg.inference.backends.registry import build_cpu_backend
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.road_fcn import fold_batch_norm


def fast_road_logit(
    checkpoint: Checkpoint, say: Callable[[str], object]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return `CpuBackend.road_logit` in the precision that `auto` takes; None if that is float32.

    `say` gets a line of text with the precision.
    """
    width = checkpoint.model.config.width
    precision, _ = choose_precision(torch.device('cpu'), 'auto', checkpoint.agreements, width)
    if precision == 'float32':
        return None
    model = fold_batch_norm(checkpoint.model)
    backend = build_cpu_backend(model, 'auto', precision, checkpoint.activation_peaks)
    say(f'on a CPU the teacher computes in {precision}, by {backend.info}')
    return backend.road_logit
