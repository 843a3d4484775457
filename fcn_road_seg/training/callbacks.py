"""Lightning callbacks for training: weight average, atomic checkpoints, progress pictures."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from fcn_road_seg.training.data_module import FrameLoader
from fcn_road_seg.training.lightning_module import PREVIEWS_A_SOURCE, RoadTraining
from fcn_road_seg.training.run_folder import (
    CURVES_NAME,
    PREDICTIONS_NAME,
    best_score,
    full_disk_error,
    read_run_checkpoint,
)
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.viz.contact_sheet import draw_errors, make_contact_sheet, write_png
from fcn_road_seg.viz.plots import plot_curves


def weight_average(decay: float) -> WeightAveraging:
    """Return the callback that keeps an exponential moving average of the weights.

    At step n, its decay is (1 + n) / (10 + n), but at most `decay` in [0, 1), so that the average
    soon forgets the initial weights.
    """

    def average(averaged: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        weight = (9 / (10 + torch.as_tensor(n))).clamp(min=1 - decay).to(averaged.device)
        return averaged + (current - averaged) * weight

    return WeightAveraging(avg_fn=average)


class SigtermInterrupts(Callback):
    """Turns SIGTERM into a KeyboardInterrupt, like SIGINT.

    It replaces Lightning's own handler, which broadcasts a tensor among the training processes.
    The others are in the middle of other collective operations, so all would wait forever.
    """

    def __init__(self) -> None:
        self._came = False

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt

    def on_train_batch_start(self, *_: object) -> None:
        # Python discards an exception raised while it finalizes an object or forks a process.
        if self._came:
            raise KeyboardInterrupt


class DataWait(Callback):
    """Logs `train/data_wait`, the share of an epoch's time spent waiting for frames.

    At the end it reports this share over all epochs, excluding validation, and the speed.
    """

    def __init__(self) -> None:
        self._seconds = self._waited_s = 0.0
        self._batches = 0

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        self._began_s, self._waited_before_s = time.monotonic(), _waited_s(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        seconds = time.monotonic() - self._began_s
        waited_s = _waited_s(trainer) - self._waited_before_s
        pl_module.log('train/data_wait', waited_s / seconds)
        self._batches += 1
        if trainer.is_last_batch:
            self._seconds += seconds
            self._waited_s += waited_s

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if self._seconds:
            rank_zero_info(
                f'train: {self._batches / self._seconds:.2f} steps/s; '
                f'{self._waited_s / self._seconds:.1%} of the time went to waiting for frames'
            )


def _waited_s(trainer: lightning.Trainer) -> float:
    assert isinstance(trainer.train_dataloader, FrameLoader)
    return trainer.train_dataloader.waited_s


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints that replace an earlier file only once they are complete."""

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
            # An interrupt during writing becomes a RuntimeError, too.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise full_disk_error(Path(path), Path(path).parent, error) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = 'cpu', weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Return the content of the file `path`; Lightning's reader mistakes some paths for URLs.

        Raises:
            ValueError: the file is damaged, or not a checkpoint of a run.
        """
        return read_run_checkpoint(Path(path))


class RunCheckpoint(ModelCheckpoint):
    """Keeps one file of a run: the latest state, or the one with the highest `monitor`.

    A resumed run reads the score to beat from the file itself. Lightning's own copy, in last.ckpt,
    is one validation out of date, and is invalid if the run has been moved.
    """

    def __init__(self, out: Path, name: str, monitor: str | None = None) -> None:
        file = Path(name)
        super().__init__(out, file.stem, monitor, mode='max', enable_version_counter=False)

    @property
    def state_key(self) -> str:
        return f'{type(self).__name__} {self.filename}'

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        super().on_train_start(trainer, pl_module)
        if self.monitor is None:
            return
        assert self.dirpath is not None
        score = best_score(Path(self.dirpath)) if trainer.is_global_zero else None
        # The machines may share no disk, but all processes must decide alike.
        score = trainer.strategy.broadcast(score)
        if score is not None:
            self.best_model_path = self.kth_best_model_path = self.format_checkpoint_name({})
            self.best_model_score = self.kth_value = torch.tensor(score)
            self.best_k_models = {self.best_model_path: self.best_model_score}


class ProgressBar(TQDMProgressBar):
    """Lightning's progress bar, but closed before an error is printed, not after it."""

    def on_exception(self, *_: object) -> None:
        for bar in (self._train_progress_bar, self._val_progress_bar):
            if bar is not None:
                bar.close()


class ProgressPictures(Callback):
    """Writes CURVES_NAME and PREDICTIONS_NAME to `folder` after each validation."""

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
        plot_curves(self._folder.glob('metrics/*/metrics.csv'), self._folder / CURVES_NAME)
        pictures = [
            draw_errors(frame.permute(1, 2, 0).numpy(), road.numpy(), label.numpy())
            for frame, road, label in pl_module.previews
        ]
        sheet = make_contact_sheet(pictures, columns=PREVIEWS_A_SOURCE)
        write_png(sheet, self._folder / PREDICTIONS_NAME)
