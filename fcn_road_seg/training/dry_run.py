"""A run of two steps that meets every error that a run of days would meet at its end."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from fcn_road_seg.training.options import TrainingOptions
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.training.run import Calibrate, train
from fcn_road_seg.training.run_folder import check_run_folder


def dry_run(
    options: TrainingOptions, recipe: Recipe, calibrate: Calibrate
) -> dict[str, dict[str, float]] | None:
    """Train as `train` with these options, but two steps on a few frames, and keep nothing.

    The encoder is free in the second step, which then needs as much memory as any.

    Raises:
        ValueError, TrainingError: as `train`.
    """
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
        return train(brief, recipe, calibrate)
