"""Builds Lightning's trainer, and chooses which of its messages are shown."""

from __future__ import annotations

import logging
import math
import warnings

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from fcn_road_seg.training.callbacks import (
    DataWait,
    ProgressBar,
    ProgressPictures,
    RunCheckpoint,
    SigtermInterrupts,
    WholeCheckpoints,
    weight_average,
)
from fcn_road_seg.training.options import TrainingOptions
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.training.run_folder import BEST_NAME, LAST_NAME
from fcn_road_seg.utils.cpu_features import has_bfloat16

# Messages that Lightning logs before training and that do not help the user.
_NOISE = ('💡', 'TPU available', 'Loading `train_dataloader`', 'Seed set to')


@rank_zero_only
def say(line: str) -> None:
    """Print a line for the user; of several processes, only the first does."""
    print(f'train: {line}')


def quieten_lightning() -> None:
    """Hide Lightning's advertisements and its hints for programmers."""
    warnings.filterwarnings('ignore', module=r'lightning\.')
    for name in (
        'pytorch.utilities.rank_zero',
        'fabric.utilities.rank_zero',
        'fabric.utilities.seed',
    ):
        logging.getLogger(f'lightning.{name}').addFilter(_is_worth_saying)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_NOISE)


def build_trainer(options: TrainingOptions, recipe: Recipe, validates: bool) -> lightning.Trainer:
    """Return Lightning's trainer, whose epochs are `options.val_every` steps long.

    Raises:
        ValueError: accelerator, devices, strategy or precision cannot be used on this machine.
    """
    # Absolute: Lightning mistakes some relative paths for URLs.
    out = options.out.absolute()
    on_cpu = options.accelerator == 'cpu' or not torch.cuda.is_available()
    try:
        return lightning.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            strategy=options.strategy,
            sync_batchnorm=not on_cpu,
            precision=lightning_precision(options.precision, recipe, on_cpu),  # type: ignore[arg-type]
            max_epochs=math.ceil(options.steps / options.val_every),
            gradient_clip_val=recipe.clip_norm,
            callbacks=build_callbacks(options, recipe, validates),
            logger=[CSVLogger(out, name='metrics'), TensorBoardLogger(out, 'tensorboard')],
            plugins=[WholeCheckpoints()],
            log_every_n_steps=min(20, options.val_every),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=out,
        )
    # Lightning raises these if there is no such accelerator, or there are too few devices.
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        raise ValueError(
            f'--accelerator {options.accelerator} --devices {options.devices} --strategy '
            f'{options.strategy} --precision {options.precision} cannot be used on this machine: '
            f'{error}'
        ) from error


def build_callbacks(options: TrainingOptions, recipe: Recipe, validates: bool) -> list[Callback]:
    """Return the callbacks: checkpoints, progress and pictures, weight average, early stopping."""
    out = options.out.absolute()
    callbacks: list[Callback] = [
        SigtermInterrupts(),
        # Two of them: a single one with `save_last` would write only when there is a new best.
        # The best one first: a run killed between the two then validates the same weights again.
        RunCheckpoint(out, BEST_NAME, 'val/iou' if validates else None),
        RunCheckpoint(out, LAST_NAME),
        LearningRateMonitor('step'),
        DataWait(),
        # If rich is installed, Lightning would use it, and it shows nothing in a log file.
        ProgressBar(),
        ProgressPictures(out),
    ]
    if recipe.ema_decay:
        callbacks.append(weight_average(recipe.ema_decay))
    if options.patience and validates:
        callbacks.append(EarlyStopping('val/iou', mode='max', patience=options.patience))
    return callbacks


def lightning_precision(name: str, recipe: Recipe, on_cpu: bool) -> str:
    """Return Lightning's name for a precision; 'auto' is bf16-mixed where that is fast.

    Raises:
        ValueError: the precision needs a GPU.
    """
    if name == '16-mixed' and on_cpu:
        raise ValueError('16-mixed needs a GPU; use bf16-mixed')
    if name != 'auto':
        return name
    is_fast = has_bfloat16() if on_cpu else True
    return 'bf16-mixed' if recipe.mixed_precision and is_fast else '32-true'
