"""The option with which `demo` and `bench` set parameters of the node that they start."""

from __future__ import annotations

import argparse

from fcn_road_seg.ros.parameters import PARAMETERS, QOS_PREFIX, is_known
from fcn_road_seg.utils.nearest_name import did_you_mean


def add_parameter_argument(parser: argparse.ArgumentParser, node: str, example: str) -> None:
    """Add `--parameter`, a list of NAME:=VALUE; `node` and `example` are words of its help."""
    parser.add_argument(
        '--parameter',
        action='append',
        default=[],
        type=node_parameter,
        metavar='NAME:=VALUE',
        help=f'Set a parameter of {node}, e.g. {example}; may be repeated.',
    )


def node_parameter(text: str) -> str:
    """Return `text` if it sets a known parameter; ROS itself ignores misspelt names.

    Raises:
        argparse.ArgumentTypeError: it is not NAME:=VALUE, or the parameter would have no effect.
    """
    name, sign, _ = text.partition(':=')
    if not sign:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME:=VALUE; give e.g. device:=cpu')
    if name.startswith(QOS_PREFIX):
        raise argparse.ArgumentTypeError(
            f'{name!r} has no effect here, because the topics have new names in each run; use it '
            'with fcn-road-seg segment'
        )
    if not is_known(name):
        names = [parameter.name for parameter in PARAMETERS]
        advice = did_you_mean(name, names) or '; fcn-road-seg segment --help lists them'
        raise argparse.ArgumentTypeError(f'the node has no parameter {name!r}{advice}')
    return text
