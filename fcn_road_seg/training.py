"""The learning itself: what Lightning runs around a RoadFCN, and what it writes as it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchmetrics.classification import BinaryJaccardIndex

from fcn_road_seg.augment import Augmentation
from fcn_road_seg.datasets import VOID
from fcn_road_seg.files import written_whole
from fcn_road_seg.model import RoadFCN, road_logit
from fcn_road_seg.pictures import compared, sheet
from fcn_road_seg.plots import plot_curves
from fcn_road_seg.recipe import Recipe
from fcn_road_seg.sources import Source, collate, seeded, train_loader

PREVIEWS_A_SOURCE = 4
# Under it a Lightning checkpoint keeps what its weights scored.
VAL_IOU_KEY = 'val_iou_by_source'


class TrainingError(RuntimeError):
    """A training cannot go on; its earlier checkpoints are whole."""


class RoadData(lightning.LightningDataModule):
    """Batches of `sources` by their shares, `steps_an_epoch` an epoch, and their val frames."""

    def __init__(
        self, sources: Sequence[Source], batch: int, steps_an_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.sources = sources
        self.batch = batch
        self.steps_an_epoch = steps_an_epoch
        self.seed = seed

    def train_dataloader(self) -> DataLoader[object]:
        rank = self.trainer.global_rank  # type: ignore[union-attr]
        return train_loader(self.sources, self.batch, self.steps_an_epoch, self.seed, rank)

    def val_dataloader(self) -> list[DataLoader[object]]:
        # Each process takes its part; the metrics add up what all of them counted.
        rank, world = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        parts = [
            Subset(source.val, range(rank, len(source.val), world))
            for source in self.sources
            if len(source.val)
        ]
        return [DataLoader(part, batch_size=1, collate_fn=collate) for part in parts]


class RoadTraining(lightning.LightningModule):
    """The training and validation steps around `net`, by `recipe`.

    For the first `freeze_steps` steps the encoder stays as it is, its batch norm statistics
    included; then it learns at `encoder_rate` times the decoder's rate. All randomness follows
    from `seed`, the step and the process's rank. `val_names` are the validation sources'.
    """

    def __init__(
        self,
        net: RoadFCN,
        recipe: Recipe,
        val_names: Sequence[str],
        freeze_steps: int = 0,
        encoder_rate: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.recipe = recipe
        self.val_names = list(val_names)
        self.freeze_steps = freeze_steps
        self.encoder_rate = encoder_rate
        self.seed = seed
        self.augmentation = Augmentation(
            **{field.name: getattr(recipe, field.name) for field in fields(Augmentation)}
        )
        self.val_iou = nn.ModuleList(BinaryJaccardIndex(ignore_index=VOID) for _ in val_names)
        # Frame, mask and label of the first frames of each source, as last validated.
        self.previews: list[tuple[Tensor, Tensor, Tensor]] = []
        self.val_iou_by_source: dict[str, float] = {}

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        generator = seeded(self.seed, self.trainer.global_rank, self.trainer.global_step)
        # The augmentation draws from the global generators, of the CPU and of its device.
        torch.manual_seed(generator.initial_seed())
        # Frozen by a rate of 0 and not by requires_grad, which DDP must not see change. Without
        # evaluation mode the batch norm statistics would go on changing.
        self.net.encoder.train(self.trainer.global_step >= self.freeze_steps)

    def training_step(self, batch: tuple[list[Tensor], list[Tensor]], _: int) -> Tensor:
        frames, labels = self.augmentation(*batch)
        frames = frames.contiguous(memory_format=torch.channels_last)
        scores = self.net.scores(frames)
        loss = road_loss(scores, labels, self.recipe.dice, self.recipe.smoothing)
        # A synchronisation a step, which costs little beside the step and saves the weights.
        if not torch.isfinite(loss):
            raise TrainingError(
                f'the loss is {loss.item()} at step {self.trainer.global_step}; lower '
                '--learning-rate, or use another --precision'
            )
        self.log('train/loss', loss.detach(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.previews = []

    def validation_step(
        self, batch: tuple[list[Tensor], list[Tensor]], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        for frame, label in zip(*batch, strict=True):
            h, w = label.shape
            x = functional.interpolate(
                frame[None].float() / 255,
                self.recipe.input_rule.input_hw((h, w)),
                mode='bilinear',
                antialias=True,
            )
            logit = road_logit(self.net.scores(x))[:, None]
            logit = functional.interpolate(logit, (h, w), mode='bilinear')[0, 0]
            self.val_iou[dataloader_idx].update(logit > 0, label)  # type: ignore[operator]
            if batch_idx < PREVIEWS_A_SOURCE:
                self.previews.append((frame.cpu(), (logit > 0).cpu(), label.cpu()))

    def on_validation_epoch_end(self) -> None:
        for name, metric in zip(self.val_names, self.val_iou, strict=True):
            self.val_iou_by_source[name] = metric.compute().item()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
            self.log(f'val/iou_{name}', self.val_iou_by_source[name])
        mean = sum(self.val_iou_by_source.values()) / len(self.val_iou_by_source)
        self.log('val/iou', mean, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[VAL_IOU_KEY] = self.val_iou_by_source

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        recipe = self.recipe
        kind = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[recipe.optimizer]
        encoder, decoder = self.net.encoder.parameters(), self.net.decoder.parameters()
        optimizer = kind(
            [
                {'params': list(encoder), 'lr': recipe.learning_rate * self.encoder_rate},
                {'params': list(decoder)},
            ],
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = round(steps * recipe.warm_up)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            if not recipe.cosine:
                return 1.0
            return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

        def encoder_factor(step: int) -> float:
            return factor(step) if step >= self.freeze_steps else 0.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [encoder_factor, factor])
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


def road_loss(scores: Tensor, labels: Tensor, dice: bool, smoothing: float = 0.0) -> Tensor:
    """Return binary cross-entropy on p(road), plus Dice loss; void pixels count in neither.

    `scores` are [N, 2, H, W], `labels` [N, H, W] uint8. `smoothing`, in [0, 1), moves the labels
    of the cross-entropy towards 1/2 (Szegedy et al. 2016), so that p(road) says how sure it is
    instead of 0 or 1. Dice as in Milletari et al. 2016 (V-Net), with the batch pooled, so that a
    crop without road is no special case.
    """
    logit = road_logit(scores)
    valid = labels != VOID
    logit, road = logit[valid], labels[valid].float()
    if not len(road):
        return logit.sum()
    smoothed = road * (1 - smoothing) + smoothing / 2
    cross_entropy = functional.binary_cross_entropy_with_logits(logit, smoothed)
    if not dice:
        return cross_entropy
    p_road = logit.sigmoid()
    return cross_entropy + (1 - (2 * (p_road * road).sum() + 1) / (p_road.sum() + road.sum() + 1))


def weight_average(decay: float) -> WeightAveraging:
    """Return the callback that keeps an exponential moving average of the weights.

    Its decay rises to `decay` as (1 + n) / (10 + n) over the steps n, so that the random
    weights of the beginning are soon forgotten.
    """

    def average(averaged: Tensor, current: Tensor, n: Tensor | int) -> Tensor:
        weight = (9 / (10 + torch.as_tensor(n))).clamp(min=1 - decay).to(averaged.device)
        return averaged + (current - averaged) * weight

    return WeightAveraging(avg_fn=average)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace an earlier one of their name only when they are whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            TrainingError: it cannot be written; the file that was there stays.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with written_whole(path) as part, part.open('wb') as file:
                torch.save(checkpoint, file)
        # PyTorch's own writer tells of a full disk by a RuntimeError.
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f'{path} cannot be written ({error}); the one before it stays. Make room and go '
                'on with --resume'
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
            compared(frame.permute(1, 2, 0).numpy(), road.numpy(), label.numpy())
            for frame, road, label in pl_module.previews
        ]
        cv2.imwrite(
            str(self._folder / 'predictions.png'), sheet(pictures, columns=PREVIEWS_A_SOURCE)
        )
