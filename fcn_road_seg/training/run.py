"""One training run: build network, data and trainer, fit, write the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from fcn_road_seg.model.activation_ranges import (
    FRAME_COUNT,
    evenly_spaced,
    measure_activation_ranges,
)
from fcn_road_seg.model.checkpoint import (
    Checkpoint,
    Provenance,
    load_checkpoint,
    save_checkpoint,
)
from fcn_road_seg.model.rescaling import rescale_norms
from fcn_road_seg.model.road_fcn import OUTPUT_STRIDE, RoadFCN, fold_batch_norm
from fcn_road_seg.training.callbacks import ProgressPictures, WholeCheckpoints, weight_average
from fcn_road_seg.training.data_module import RoadData, Source, load_sources
from fcn_road_seg.training.lightning_module import VAL_IOU_KEY, RoadTraining, TrainingError
from fcn_road_seg.training.options import TrainingOptions
from fcn_road_seg.training.pretrained import load_weights
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.utils.cpu_features import has_fast_bfloat16

CHECKPOINT_NAME = 'road_fcn.safetensors'


def train(options: TrainingOptions, recipe: Recipe) -> dict[str, dict[str, float]] | None:
    """Train a network, write it to `options.out` and return its metrics, {data set: {'iou': ...}}.

    Of several processes only the first writes the network; the others return None.

    Raises:
        ValueError: weights, data or the output folder cannot be used.
        TrainingError: the training failed or was interrupted.
    """
    refuse_to_overwrite(options)
    torch.set_float32_matmul_precision('high')
    lightning.seed_everything(options.seed)
    net = RoadFCN(options.network)
    if options.resume is None:
        load_weights(net, options.weights)
    if options.weights == 'none':
        # The smaller rate is for an encoder that has already learnt.
        recipe = replace(recipe, encoder_rate=1.0)
    # More pixels than a crop can show would only take memory, and alias.
    seen_pixels = recipe.input_rule.pixels or math.prod(recipe.crop_hw)
    sources = load_sources(
        options.data, options.rendered, options.split, max_pixels=round(seen_pixels * 1.5)
    )
    val_names = [source.name for source in sources if len(source.val)]
    training = RoadTraining(
        net, recipe, val_names, options.freeze_steps, options.threshold, options.seed
    )
    trainer = build_trainer(options, recipe, validates=bool(val_names))
    data = RoadData(sources, recipe.batch, options.val_every, options.seed)
    fit(trainer, training, data, options)
    return write_checkpoint(options, training, sources) if trainer.is_global_zero else None


def refuse_to_overwrite(options: TrainingOptions) -> None:
    """Raise ValueError if `options.out` holds another run, whose checkpoints would be lost."""
    last = options.out / 'last.ckpt'
    if last.exists() and options.resume is None:
        raise ValueError(
            f'{options.out} holds another run; continue it with --resume {last}, or use another '
            '--out'
        )


def build_trainer(options: TrainingOptions, recipe: Recipe, validates: bool) -> lightning.Trainer:
    """Return Lightning's trainer, whose epochs are `options.val_every` steps long."""
    out = options.out
    on_cpu = options.accelerator == 'cpu' or not torch.cuda.is_available()
    return lightning.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        sync_batchnorm=not on_cpu,
        precision=lightning_precision(options.precision, recipe, on_cpu),  # type: ignore[arg-type]
        max_epochs=math.ceil(options.steps / options.val_every),
        gradient_clip_val=recipe.clip_norm,
        callbacks=build_callbacks(options, recipe, validates),
        logger=[CSVLogger(out, name='metrics'), TensorBoardLogger(out, 'tensorboard')],
        plugins=[WholeCheckpoints()],
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=out,
    )


def build_callbacks(options: TrainingOptions, recipe: Recipe, validates: bool) -> list[Callback]:
    """Return the callbacks: checkpoints and pictures, weight average, early end."""
    callbacks: list[Callback] = [
        # Two of them: `save_last` of a single one follows only when there is a new best.
        ModelCheckpoint(options.out, 'last', enable_version_counter=False),
        ModelCheckpoint(
            *(options.out, 'best', 'val/iou' if validates else None),
            mode='max',
            enable_version_counter=False,
        ),
        LearningRateMonitor('step'),
        ProgressPictures(options.out),
    ]
    if recipe.ema_decay:
        callbacks.append(weight_average(recipe.ema_decay))
    if options.patience and validates:
        callbacks.append(EarlyStopping('val/iou', mode='max', patience=options.patience))
    return callbacks


def lightning_precision(name: str, recipe: Recipe, on_cpu: bool) -> str:
    """Return Lightning's name of a precision; 'auto' is bf16-mixed where that is fast."""
    if name != 'auto':
        return name
    is_fast = has_fast_bfloat16() if on_cpu else True
    return 'bf16-mixed' if recipe.mixed_precision and is_fast else '32-true'


def fit(
    trainer: lightning.Trainer,
    training: RoadTraining,
    data: RoadData,
    options: TrainingOptions,
) -> None:
    """Run the trainer.

    Raises:
        TrainingError: the loss is not finite, the disk is full, or a signal ended the training.
    """
    try:
        trainer.fit(training, datamodule=data, ckpt_path=options.resume)
    except SystemExit as error:
        # Lightning's own answer to Ctrl-C, which does not say what is left.
        last = options.out / 'last.ckpt'
        left = f'continue with --resume {last}' if last.exists() else 'nothing was saved yet'
        raise TrainingError(f'interrupted at step {trainer.global_step}; {left}') from error


def write_checkpoint(
    options: TrainingOptions, training: RoadTraining, sources: Sequence[Source]
) -> dict[str, dict[str, float]]:
    """Write the network of best.ckpt to CHECKPOINT_NAME with its metrics, and return these."""
    best = torch.load(options.out / 'best.ckpt', map_location='cpu', weights_only=True)
    training.load_state_dict(best['state_dict'])
    metrics = {name: {'iou': round(iou, 4)} for name, iou in best[VAL_IOU_KEY].items()}
    data = ', '.join(f'{source.name} ({len(source.train)} frames)' for source in sources)
    checkpoint = Checkpoint(
        rescale_norms(fold_batch_norm(training.net)),
        training.recipe.input_rule,
        training.threshold,
        provenance=Provenance(data, options.licence, metrics),
    )
    peaks = measure_activation_ranges(checkpoint, sample_frames(sources))
    calibrated = replace(checkpoint, activation_peaks=peaks)
    with atomic_write(options.out / CHECKPOINT_NAME) as part:
        save_checkpoint(calibrated, part, torch.float16)
        check_written(part)
    return metrics


def check_written(path: Path) -> None:
    """Load a written checkpoint and run it, as the node will.

    Raises:
        CheckpointError: it cannot be loaded.
        TrainingError: its scores are not finite.
    """
    model = load_checkpoint(path).model
    if not model.scores(torch.rand(1, 3, OUTPUT_STRIDE, OUTPUT_STRIDE)).isfinite().all():
        raise TrainingError(f'{path} gives scores that are not finite; lower --learning-rate')


def sample_frames(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB training frames, the same number from each source."""
    for source in sources:
        for frame, _ in evenly_spaced(source.train.samples, FRAME_COUNT // len(sources) or 1):
            yield frame.permute(1, 2, 0).contiguous().numpy()
