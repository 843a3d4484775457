"""The training and validation steps of a RoadFCN, as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torchmetrics.classification import BinaryJaccardIndex

from fcn_road_seg.datasets.labels import VOID
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import logit_threshold, resize_to_frame, resize_to_input
from fcn_road_seg.model.road_fcn import RoadFCN, road_logit
from fcn_road_seg.training.augmentation import Augmentation
from fcn_road_seg.training.data_module import seeded_generator
from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.loss import distillation_loss, road_loss
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.training.run_folder import (
    SKIP_SCALES_KEY,
    TRAINING_DATA_KEY,
    VAL_IOU_KEY,
    mean_iou,
)
from fcn_road_seg.training.teacher import Teacher, mean_p_road

PREVIEWS_A_SOURCE = 4


class RoadTraining(lightning.LightningModule):
    """The training and validation steps of `net`, as `recipe` describes them.

    Validation makes masks as `RoadSegmenter` does: OpenCV resizes each frame to the size that the
    recipe's input rule gives and the logit back, and road is where p(road) >= `threshold`.

    Args:
        net, recipe: the network to train, and how to train it.
        val_names: names of the sources that have validation frames, in the data module's order.
        freeze_steps: number of initial steps in which the encoder is frozen, with its statistics.
        threshold: lowest p(road), in (0, 1), that counts as road.
        seed: together with the step and the process's rank, it determines all randomness.
        teachers: networks whose mean p(road), if there are any, is learnt along with the labels.
        training_data: what the network learns from, for the checkpoints' metadata.
    """

    def __init__(
        self,
        net: RoadFCN,
        recipe: Recipe,
        val_names: Sequence[str],
        freeze_steps: int = 0,
        threshold: float = Checkpoint.threshold,
        seed: int = 0,
        teachers: Sequence[Teacher] = (),
        training_data: str = '',
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.recipe = recipe
        self.val_names = list(val_names)
        self.freeze_steps = freeze_steps
        self.threshold = threshold
        self.seed = seed
        self.teachers = teachers
        self.training_data = training_data
        self.augmentation = Augmentation(
            **{field.name: getattr(recipe, field.name) for field in fields(Augmentation)}
        )
        for parameter in net.encoder.first_stages(recipe.frozen_stages).parameters():
            parameter.requires_grad = False
        self.val_iou = nn.ModuleList(BinaryJaccardIndex(ignore_index=VOID) for _ in val_names)
        # Frame, mask and label of the first frames of each source, from the last validation.
        self.previews: list[tuple[Tensor, Tensor, Tensor]] = []
        self.val_iou_by_source: dict[str, float] = {}

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        generator = seeded_generator(self.seed, self.trainer.global_rank, self.trainer.global_step)
        # The augmentation draws from the global generators of the CPU and of its device.
        torch.manual_seed(generator.initial_seed())
        # The encoder is frozen by a learning rate of 0, since DDP does not support changing
        # requires_grad. Batch norm statistics stay unchanged only in evaluation mode.
        self.net.encoder.train(self.trainer.global_step >= self.freeze_steps)
        self.net.encoder.first_stages(self.recipe.frozen_stages).eval()
        if self.recipe.freeze_norms:
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def training_step(self, batch: tuple[list[Tensor], list[Tensor]], _: int) -> Tensor:
        loss = self._loss(self.augmentation(*batch))
        # This costs a synchronisation per step, which is little compared with the step itself.
        if not torch.isfinite(loss):
            raise TrainingError(
                f'the loss is {loss.item()} at step {self.trainer.global_step}; lower '
                '--learning-rate or use another --precision'
            )
        self.log('train/loss', loss.detach(), prog_bar=True)
        return loss

    def _loss(self, crops: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the loss over all pixels of `crops`, as `Augmentation` returns them."""
        splits = self.device.type == 'cuda' and self.recipe.freeze_norms
        frames = batches_for_network((x for x, _ in crops), splits)
        labels = torch.cat([y.flatten() for _, y in crops])
        logit = torch.cat([road_logit(self.net.scores(x)).flatten() for x in frames])
        loss = road_loss(logit, labels, self.recipe.dice, self.recipe.smoothing)
        if self.teachers:
            p_road = torch.cat([mean_p_road(self.teachers, x).flatten() for x in frames])
            loss = loss + self.recipe.teacher_weight * distillation_loss(logit, p_road)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.previews = []

    def validation_step(
        self, batch: tuple[list[Tensor], list[Tensor]], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        for frame, label in zip(*batch, strict=True):
            road = self._segment(frame)
            metric = self.val_iou[dataloader_idx]
            metric.update(road.to(label.device), label)  # type: ignore[operator]
            if batch_idx < PREVIEWS_A_SOURCE:
                self.previews.append((frame.cpu(), road, label.cpu()))

    def _segment(self, frame: Tensor) -> Tensor:
        """Return the mask, [H, W] bool on the CPU, of a [3, H, W] uint8 RGB frame.

        The network runs in the precision of the training: in bfloat16 that is up to 4 times as
        fast as float32, and changes IoU by less than 0.0005 (benchmarks/accuracy.md).
        """
        frame_rgb = frame.permute(1, 2, 0).contiguous().cpu().numpy()
        frame_hw = frame_rgb.shape[:2]
        resized = resize_to_input(frame_rgb, self.recipe.input_rule.input_hw(frame_hw))
        x = torch.from_numpy(resized).permute(2, 0, 1)[None].to(frame.device)
        logit = road_logit(self.net.scores(x))[0].cpu().numpy()
        road = resize_to_frame(logit, frame_hw) >= logit_threshold(self.threshold)
        return torch.from_numpy(road)

    def on_validation_epoch_end(self) -> None:
        for name, metric in zip(self.val_names, self.val_iou, strict=True):
            self.val_iou_by_source[name] = metric.compute().item()  # type: ignore[operator]
            metric.reset()  # type: ignore[operator]
            self.log(f'val/iou_{name}', self.val_iou_by_source[name])
        self.log('val/iou', mean_iou(self.val_iou_by_source), prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[VAL_IOU_KEY] = self.val_iou_by_source
        checkpoint[SKIP_SCALES_KEY] = self.net.config.skip_scales
        checkpoint[TRAINING_DATA_KEY] = self.training_data

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        recipe = self.recipe
        kind = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[recipe.optimizer]
        encoder = list(self.net.encoder.parameters())
        others = [p for name, p in self.net.named_parameters() if not name.startswith('encoder.')]
        optimizer = kind(
            [
                {'params': encoder, 'lr': recipe.learning_rate * recipe.encoder_rate},
                {'params': others},
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
        scheduler = {'scheduler': schedule, 'interval': 'step'}
        return {'optimizer': optimizer, 'lr_scheduler': scheduler}


def batches_for_network(batches: Iterable[Tensor], splits: bool) -> list[Tensor]:
    """Return [N, 3, h, w] batches in channels-last order; if `splits`, in `powers_of_two`."""
    parts = (part for x in batches for part in (x.split(powers_of_two(len(x))) if splits else [x]))
    return [part.contiguous(memory_format=torch.channels_last) for part in parts]


def powers_of_two(n: int) -> list[int]:
    """Return the different powers of two whose sum is `n`, the largest first.

    The number of crops of a size changes from batch to batch, and cuDNN plans all convolutions
    anew for each number that it has not seen. On an H100, a step with such a number took 0.6 to
    1.1 s, with a known one 0.02 s. Parts have only a few numbers.
    """
    return [1 << bit for bit in reversed(range(n.bit_length())) if n >> bit & 1]
