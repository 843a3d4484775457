"""Lightning callbacks of a training: weight average, atomic checkpoints, progress pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from fcn_road_seg.training.lightning_module import PREVIEWS_A_SOURCE, RoadTraining, TrainingError
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.viz.contact_sheet import draw_errors, make_contact_sheet
from fcn_road_seg.viz.plots import plot_curves


def weight_average(decay: float) -> WeightAveraging:
    """Return the callback that keeps an exponential moving average of the weights.

    Its decay is (1 + n) / (10 + n) at step n, at most `decay` in [0, 1), so that the average soon
    forgets the initial weights.
    """

    def average(averaged: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        weight = (9 / (10 + torch.as_tensor(n))).clamp(min=1 - decay).to(averaged.device)
        return averaged + (current - averaged) * weight

    return WeightAveraging(avg_fn=average)


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints that replace an earlier file only when they are complete."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            TrainingError: it cannot be written; an earlier file stays as it was.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path) as part, part.open('wb') as file:
                torch.save(checkpoint, file)
        # PyTorch's own writer reports a full disk as a RuntimeError.
        except (OSError, RuntimeError) as error:
            # An interrupt while it writes becomes a RuntimeError, too.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise TrainingError(
                f'{path} cannot be written ({error}); the earlier one is intact. Free some space '
                'and continue with --resume'
            ) from error


class ProgressPictures(Callback):
    """Writes `curves.png` and `predictions.png` to `folder` after each validation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        assert isinstance(pl_module, RoadTraining)
        if not trainer.is_global_zero or not pl_module.previews:
            return
        for logger in trainer.loggers:
            logger.save()
        plot_curves(self._folder.glob('metrics/*/metrics.csv'), self._folder / 'curves.png')
        pictures = [
            draw_errors(frame.permute(1, 2, 0).numpy(), road.numpy(), label.numpy())
            for frame, road, label in pl_module.previews
        ]
        cv2.imwrite(
            str(self._folder / 'predictions.png'),
            make_contact_sheet(pictures, columns=PREVIEWS_A_SOURCE),
        )
