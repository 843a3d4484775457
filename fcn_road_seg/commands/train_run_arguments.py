"""The options of `train` for its length, its hardware, its start and its output."""

from __future__ import annotations

import argparse
from pathlib import Path

from fcn_road_seg.commands.arguments import probability, whole_number
from fcn_road_seg.training.options import PRECISIONS, TrainingOptions


def add_loop_arguments(group: argparse._ActionsContainer) -> None:
    """Add the options for the length of the run, its hardware and its start."""
    group.add_argument(
        '--steps',
        type=whole_number(1),
        default=TrainingOptions.steps,
        metavar='N',
        help='Number of steps, rounded up to a multiple of --val-every (default: %(default)s).',
    )
    group.add_argument(
        '--val-every',
        type=whole_number(1),
        default=TrainingOptions.val_every,
        metavar='STEPS',
        help='Validate and write checkpoints every STEPS steps (default: %(default)s).',
    )
    group.add_argument(
        '--freeze',
        type=int,
        default=TrainingOptions.freeze_steps,
        metavar='STEPS',
        help='Keep the encoder frozen for the first STEPS steps (default: %(default)s).',
    )
    group.add_argument(
        '--patience',
        type=whole_number(1),
        metavar='N',
        help='End the training after N validations without a better IoU (default: never).',
    )
    group.add_argument(
        '--precision',
        default=TrainingOptions.precision,
        metavar='NAME',
        help=f'Precision: {", ".join(PRECISIONS)}; auto uses bf16-mixed where it is fast '
        '(default: %(default)s).',
    )
    group.add_argument(
        '--accelerator',
        default=TrainingOptions.accelerator,
        metavar='NAME',
        help="Lightning's name of an accelerator, such as cpu or gpu (default: %(default)s).",
    )
    group.add_argument(
        '--devices',
        default=TrainingOptions.devices,
        help='Number of devices, or their indices as Lightning takes them (default: %(default)s).',
    )
    group.add_argument(
        '--nodes',
        type=whole_number(1),
        default=TrainingOptions.nodes,
        metavar='N',
        help='Number of machines (default: %(default)s).',
    )
    group.add_argument(
        '--strategy',
        default=TrainingOptions.strategy,
        metavar='NAME',
        help="Lightning's strategy for several devices, such as ddp (default: %(default)s).",
    )
    group.add_argument(
        '--seed',
        type=int,
        default=TrainingOptions.seed,
        metavar='N',
        help='Random seed (default: %(default)s).',
    )
    group.add_argument(
        '--resume',
        type=Path,
        metavar='CKPT',
        help="Continue the run in --out from its last.ckpt; give the run's other options again.",
    )
    group.add_argument(
        '--fast-dev-run',
        action='store_true',
        help='Try out the run: every part once, with two steps on a few frames; leaves nothing '
        'in --out.',
    )


def add_output_arguments(group: argparse._ActionsContainer) -> None:
    """Add the options for where the checkpoint goes, and what it records."""
    group.add_argument(
        '--out',
        type=Path,
        default=TrainingOptions.out,
        metavar='DIR',
        help='Output folder (default: %(default)s).',
    )
    group.add_argument(
        '--licence',
        default=TrainingOptions.licence,
        metavar='TEXT',
        help='Licence of the training data, stored in the checkpoint (default: %(default)s).',
    )
    group.add_argument(
        '--threshold',
        type=probability,
        default=TrainingOptions.threshold,
        metavar='P',
        help='Lowest p(road) that counts as road, in validation and in the written checkpoint '
        '(default: %(default)s).',
    )
