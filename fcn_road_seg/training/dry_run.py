"""A run of two steps that meets every error that a run of days would meet only at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.training.options import TrainingOptions
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.training.run import Calibrate, train
from fcn_road_seg.training.run_folder import check_run_folder
from fcn_road_seg.training.teacher import FastRoadLogitOf

# On a CPU, all precisions together take about 4 s per frame.
CALIBRATION_FRAMES = 2


def dry_run(
    options: TrainingOptions,
    recipe: Recipe,
    calibrate: Calibrate,
    fast_road_logit_of: FastRoadLogitOf,
) -> dict[str, dict[str, float]] | None:
    """Run `train` with these options, but for two steps on a few frames, and keep nothing.

    `freeze_steps` is at most 1, so that the second step needs as much memory as any later step.

    Raises:
        ValueError, TrainingError, KeyboardInterrupt: as `train`.
    """

    def calibrate_briefly(checkpoint: Checkpoint, frames_rgb: Sequence[np.ndarray]) -> Checkpoint:
        return calibrate(checkpoint, frames_rgb[:CALIBRATION_FRAMES])

    check_run_folder(options.out, None)
    disk = options.out.absolute()
    while not disk.is_dir():
        disk = disk.parent
    with tempfile.TemporaryDirectory(prefix='.dry_run_', dir=disk) as folder:
        brief = replace(
            options,
            out=Path(folder),
            few_frames=True,
            steps=2,
            val_every=1,
            freeze_steps=min(options.freeze_steps, 1),
        )
        try:
            return train(brief, recipe, calibrate_briefly, fast_road_logit_of)
        except KeyboardInterrupt:
            # The text from `train` may offer to continue the run, but its folder is removed.
            raise KeyboardInterrupt('interrupted; nothing is kept') from None
