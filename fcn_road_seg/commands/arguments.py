"""arguments that several commands share"""

from __future__ import annotations

import argparse
from pathlib import Path

from fcn_road_seg.bags.writer import STORAGES
from fcn_road_seg.datasets.splits import SplitRule


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `out` and `--storage`, those of `written_bag`."""
    parser.add_argument('out', type=Path, metavar='OUT', help='the bag, a folder, is made there')
    parser.add_argument('--storage', choices=STORAGES, default=STORAGES[0], help='default: mcap')


def add_split_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that say which frames validate, the same for trainer and evaluation."""
    rule = SplitRule()
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=rule.val_fraction,
        help='tail of each category that validates, where a data set has no split of its own',
    )
    parser.add_argument(
        '--fold',
        metavar='K/N',
        help='instead of the tail, the K-th of N contiguous blocks of each category',
    )
    parser.add_argument(
        '--hold-out',
        nargs='+',
        default=rule.hold_out,
        metavar='PREFIX',
        help='in data sets with frames whose name begins so (a drive), these alone validate',
    )


def split_rule(args: argparse.Namespace) -> SplitRule:
    """Return the rule that the arguments of `add_split_arguments` ask for.

    Raises:
        ValueError: a value that is none.
    """
    fold = None
    if args.fold is not None:
        k, _, n = args.fold.partition('/')
        if not (k.isdecimal() and n.isdecimal()):
            raise ValueError(f'--fold {args.fold!r} is not K/N; say 1/5 for the first of five')
        fold = int(k), int(n)
    return SplitRule(args.val_fraction, fold, tuple(args.hold_out))
