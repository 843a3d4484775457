"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_road_seg.bags.writer import STORAGES
from fcn_road_seg.datasets.splits import SplitRule
from fcn_road_seg.inference.cpu_threads import MAX_THREADS
from fcn_road_seg.inference.options import BACKENDS, PRECISIONS
from fcn_road_seg.inference.small_regions import MAX_MIN_REGION

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter

# More than anybody would ask for; an error names this limit only if it is exceeded.
_LARGEST = 10**9


def add_output_arguments(parser: argparse.ArgumentParser, more: str = '') -> None:
    """Add `out` (`more` ends its help) and `--storage`, which `atomic_bag_writer` takes."""
    parser.add_argument(
        'out',
        type=Path,
        metavar='OUT',
        help=f'Folder of the bag to write, which must not exist{more}.',
    )
    parser.add_argument(
        '--storage',
        choices=STORAGES,
        default=STORAGES[0],
        help=f'Storage format of the bag (default: {STORAGES[0]}).',
    )


def add_topics_argument(parser: argparse.ArgumentParser, use: str) -> None:
    """Add `--topics`, a list of image topics of bags, empty for all; `use` says what for."""
    parser.add_argument(
        '--topics',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME',
        help=f'Image or CompressedImage topics {use} (default: all).',
    )


def add_split_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments of `split_rule`, which select the validation frames."""
    rule = SplitRule()
    blocks = parser.add_mutually_exclusive_group()
    blocks.add_argument(
        '--val-fraction',
        type=float,
        default=rule.val_fraction,
        metavar='SHARE',
        help='Share of frames, at the end of each category, to use for validation if a data set '
        f'has no split of its own (default: {rule.val_fraction:g}).',
    )
    blocks.add_argument(
        '--fold',
        type=part_of,
        metavar='K/N',
        help='Use the K-th of N contiguous blocks of each category for validation, instead of '
        'its end.',
    )
    parser.add_argument(
        '--hold-out',
        nargs='+',
        default=rule.hold_out,
        metavar='PREFIX',
        help='Use only the frames whose names begin with one of these prefixes (drives) for '
        'validation, in each data set that has such frames.',
    )


def split_rule(args: argparse.Namespace) -> SplitRule:
    """Return the rule that the arguments of `add_split_arguments` ask for.

    Raises:
        ValueError: a value is invalid.
    """
    return SplitRule(args.val_fraction, args.fold, tuple(args.hold_out))


def part_of(text: str) -> tuple[int, int]:
    """Return (K, N) for 'K/N', with K from 1 to N.

    Raises:
        argparse.ArgumentTypeError: the text is not that.
    """
    match = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not K/N; use, for example, 1/5 for the first of five parts'
        )
    return int(match[1]), int(match[2])


def size_hw(text: str) -> tuple[int, int]:
    """Return (height, width) for 'HxW', such as 192x640; the `type` of every size option.

    Raises:
        argparse.ArgumentTypeError: the text is not two positive numbers of at most 5 digits.
    """
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text)
    if not match or not all(map(int, match.groups())):
        raise argparse.ArgumentTypeError(f'{text!r} is not HxW; give, for example, 192x640')
    return int(match[1]), int(match[2])


def whole_number(minimum: int, maximum: int = _LARGEST) -> Callable[[str], int]:
    """Return the `type` of an option that takes a whole number of `minimum` to `maximum`."""

    def parse(text: str) -> int:
        # No valid number has more digits, and Python may refuse to convert very long texts.
        value = int(text) if text.isdecimal() and len(text) <= 20 else -1
        if not minimum <= value <= maximum:
            is_open = maximum == _LARGEST and value < minimum
            limits = f'of at least {minimum}' if is_open else f'from {minimum} to {maximum}'
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number {limits}')
        return value

    return parse


def probability(text: str) -> float:
    """Return a number above 0 and below 1.

    Raises:
        argparse.ArgumentTypeError: the text is not one.
    """
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number between 0 and 1')
    return value


def positive_number(text: str) -> float:
    """Return a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: the text is not one.
    """
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a positive number, such as 10')
    return value


def _number(text: str) -> float:
    """Return the text as a number or, if it is none, NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def min_region(text: str) -> float:
    """Return the share of a frame below which a region of its mask is removed.

    Raises:
        argparse.ArgumentTypeError: the text is not a number from 0 to MAX_MIN_REGION.
    """
    value = _number(text)
    if not 0 <= value <= MAX_MIN_REGION:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to {MAX_MIN_REGION}')
    return value


def add_checkpoint_argument(parser: argparse._ActionsContainer) -> None:
    """Add `--checkpoint`, which `checkpoint_path` takes."""
    # Not a Path, which would turn ./lite into the name lite.
    parser.add_argument(
        '--checkpoint',
        default='',
        metavar='FILE',
        help='Checkpoint file, or lite for the light network shipped with the package (default: '
        'the full-size network shipped with it).',
    )


def add_machine_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what runs and where: `--checkpoint`, `--device` and `--threads`."""
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--device',
        default='auto',
        metavar='NAME',
        help='Device: auto, cpu, cuda or cuda:N (default: auto).',
    )
    parser.add_argument(
        '--threads',
        type=whole_number(0, MAX_THREADS),
        default=0,
        metavar='N',
        help='Number of CPU threads; 0 uses all cores (default: 0).',
    )


def add_segmenter_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options of `build_segmenter`, the same for every command that segments frames."""
    add_machine_arguments(parser)
    parser.add_argument(
        '--precision',
        default='auto',
        metavar='NAME',
        help=f'Precision: auto, {", ".join(PRECISIONS)} (default: auto).',
    )
    parser.add_argument(
        '--backend',
        default='auto',
        metavar='NAME',
        help=f'Library that runs the network: {", ".join(BACKENDS)} (default: auto).',
    )
    parser.add_argument(
        '--input',
        type=size_hw,
        metavar='HxW',
        help="Network input size in multiples of 32 (default: the checkpoint's input rule).",
    )
    parser.add_argument(
        '--roi-top',
        type=float,
        default=0.0,
        metavar='SHARE',
        help="Share of the frame's height to skip at the top (default: 0).",
    )
    parser.add_argument(
        '--threshold',
        type=probability,
        metavar='P',
        help="Lowest p(road) that counts as road (default: the checkpoint's threshold).",
    )
    parser.add_argument(
        '--min-region',
        type=min_region,
        default=0.0,
        metavar='SHARE',
        help='Smallest region of the mask to keep, as a share of the frame; smaller specks and '
        'holes are removed (default: 0, which keeps all).',
    )


def build_segmenter(args: argparse.Namespace) -> RoadSegmenter:
    """Return the segmenter that the options of `add_segmenter_arguments` describe.

    Raises:
        CheckpointError, SegmenterError, ValueError: as RoadSegmenter.
    """
    # Imported only after parsing: it needs OpenCV and, for a GPU, PyTorch.
    from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
    from fcn_road_seg.inference.segmenter import RoadSegmenter

    limit_cpu_threads(args.threads)
    segmenter = RoadSegmenter(
        args.checkpoint,
        args.device,
        args.precision,
        input_hw=args.input,
        backend=args.backend,
        roi_top=args.roi_top,
    )
    segmenter.threshold = args.threshold or segmenter.threshold
    segmenter.min_region = args.min_region
    return segmenter
