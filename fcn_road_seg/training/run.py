"""Trainer, callbacks, the written checkpoint"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)

from fcn_road_seg.model.activation_ranges import (
    FRAME_COUNT,
    evenly_spaced,
    measure_activation_ranges,
)
from fcn_road_seg.model.checkpoint import Checkpoint, Provenance, save_checkpoint
from fcn_road_seg.model.road_fcn import fold_batch_norm
from fcn_road_seg.training.callbacks import ProgressPictures, weight_average
from fcn_road_seg.training.data_module import Source
from fcn_road_seg.training.lightning_module import VAL_IOU_KEY, RoadTraining
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.utils.cpu_features import has_fast_bfloat16


def build_callbacks(args: argparse.Namespace, recipe: Recipe, validated: bool) -> list[Callback]:
    """Return what goes along with the training; after each validation it keeps checkpoints."""
    callbacks: list[Callback] = [
        # Two of them: the `save_last` of one alone follows only when there is a new best.
        ModelCheckpoint(args.out, 'last', enable_version_counter=False),
        ModelCheckpoint(
            *(args.out, 'best', 'val/iou' if validated else None),
            mode='max',
            enable_version_counter=False,
        ),
        LearningRateMonitor('step'),
        ProgressPictures(args.out),
    ]
    if recipe.ema_decay:
        callbacks.append(weight_average(recipe.ema_decay))
    if args.patience and validated:
        callbacks.append(EarlyStopping('val/iou', mode='max', patience=args.patience))
    return callbacks


def refuse_to_overwrite(args: argparse.Namespace) -> None:
    """Raise ValueError where `--out` holds another run, whose checkpoints would be lost."""
    last = args.out / 'last.ckpt'
    if last.exists() and not args.resume:
        raise ValueError(
            f'{args.out} holds another run; say --resume {last} to go on with it, or another --out'
        )


def write_checkpoint(
    args: argparse.Namespace, training: RoadTraining, sources: Sequence[Source]
) -> None:
    """Write the network of `best.ckpt` to `road_fcn.safetensors`, with what it scored."""
    path = args.out / 'road_fcn.safetensors'
    best = torch.load(args.out / 'best.ckpt', map_location='cpu', weights_only=True)
    training.load_state_dict(best['state_dict'])
    metrics = {name: {'iou': round(iou, 4)} for name, iou in best[VAL_IOU_KEY].items()}
    data = ', '.join(f'{s.name} ({len(s.train)} frames)' for s in sources)
    checkpoint = Checkpoint(
        fold_batch_norm(training.net),
        training.recipe.input_rule,
        args.threshold,
        provenance=Provenance(data, args.licence, metrics),
    )
    peaks = measure_activation_ranges(checkpoint, frames_of_each(sources))
    save_checkpoint(replace(checkpoint, activation_peaks=peaks), path, torch.float16)
    print(f'{path}: {metrics}')


def frames_of_each(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB training frames, of each source as many."""
    for source in sources:
        for frame, _ in evenly_spaced(source.train.samples, FRAME_COUNT // len(sources) or 1):
            yield frame.permute(1, 2, 0).contiguous().numpy()


def lightning_precision(name: str, recipe: Recipe, on_cpu: bool) -> str:
    """Return Lightning's name of a precision; 'auto' is bf16-mixed where that is fast."""
    if name != 'auto':
        return name
    fast = has_fast_bfloat16() if on_cpu else True
    return 'bf16-mixed' if recipe.mixed_precision and fast else '32-true'
