"""Adds the activation ranges that int8 needs to a checkpoint file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.checkpoint import load_checkpoint, save_checkpoint
from fcn_road_seg.model.road_fcn import RoadFCN


def calibrate_checkpoint(
    source: str | Path, frames_rgb: Iterable[np.ndarray], out: str | Path
) -> tuple[float, ...]:
    """Write the checkpoint `source` with its activation ranges to `out`, and return them.

    `frames_rgb` are (H, W, 3) uint8. The ranges are those of `measure_activation_ranges`. The
    tensors, and so their hash, stay the same.

    Raises:
        CheckpointError: `source` is missing, foreign or damaged.
        ValueError: there are no frames.
        OSError: `out` cannot be written.
    """
    checkpoint = load_checkpoint(source)
    peaks = measure_activation_ranges(checkpoint, frames_rgb)
    dtype = _smallest_exact_dtype(checkpoint.model)
    save_checkpoint(replace(checkpoint, activation_peaks=peaks), out, dtype)
    return peaks


def _smallest_exact_dtype(model: RoadFCN) -> torch.dtype:
    """Return float16 if it represents all weights exactly, as in a file of 16 bits."""
    tensors = [t for t in model.state_dict().values() if t.ndim > 1]
    exact = all(torch.equal(t.half().float(), t) for t in tensors)
    return torch.float16 if exact else torch.float32
