"""The learning itself: what Lightning runs around a RoadFCN, and what it writes as it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryJaccardIndex

from fcn_road_seg.datasets.labels import VOID
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit
from fcn_road_seg.training.augmentation import Augmentation
from fcn_road_seg.training.data_module import seeded
from fcn_road_seg.training.loss import road_loss
from fcn_road_seg.training.recipes import Recipe

PREVIEWS_A_SOURCE = 4
# Under it a Lightning checkpoint keeps what its weights scored.
VAL_IOU_KEY = 'val_iou_by_source'


class TrainingError(RuntimeError):
    """A training cannot go on; its earlier checkpoints are whole."""


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
