"""Warns about settings that have no effect on the node: ROS itself ignores misspelt ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import yaml
from rclpy.node import Node

from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS
from fcn_road_seg.ros.parameters import PARAMETERS, QOS_PREFIX, is_known
from fcn_road_seg.ros.publishers import CAMERA_INFO, LABEL_INFO, OUTPUTS
from fcn_road_seg.ros.rclpy_compat import parameter_overrides
from fcn_road_seg.utils.nearest_name import did_you_mean

INPUTS = ('image', 'image/compressed', 'camera_info')
_OUTPUTS = (*OUTPUTS, *GROUND_OUTPUTS, CAMERA_INFO, LABEL_INFO)
REMAPPABLE = (*INPUTS, *(f'~/{name}' for name in _OUTPUTS))


def warn_of_unused_settings(node: Node, argv: Sequence[str]) -> None:
    """Log a warning for each parameter, parameter file and remapping that the node ignores.

    Call it after the parameters were declared. `argv` has the arguments that rclpy was given; QoS
    overrides are left to `warn_of_unused_qos_overrides`.
    """
    for warning in (*_parameters(node), *_parameter_files(node, argv), *_remappings(node, argv)):
        node.get_logger().warning(warning)


def warn_of_unused_qos_overrides(node: Node) -> None:
    """Log a warning for each QoS override without a topic; call it when all topics exist."""
    for name in parameter_overrides(node):
        if name.startswith(QOS_PREFIX) and not node.has_parameter(name):
            node.get_logger().warning(
                f'parameter {name} has no effect: the node has no such topic, or does not let '
                'this policy be overridden'
            )


def _parameters(node: Node) -> Iterator[str]:
    for name, value in parameter_overrides(node).items():
        if node.has_parameter(name) or is_known(name):
            continue
        if name in INPUTS:
            yield f'{name} is a topic, not a parameter; set it with -r {name}:={value}'
        else:
            names = [parameter.name for parameter in PARAMETERS]
            yield f'parameter {name} is unknown and has no effect{did_you_mean(name, names)}'


def _parameter_files(node: Node, argv: Sequence[str]) -> Iterator[str]:
    own = node.get_fully_qualified_name()
    for path in _values_of(argv, '--params-file'):
        try:
            with open(path, encoding='utf-8') as file:
                sections = list(_sections(yaml.safe_load(file)))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            # ROS itself reads it, and reports such an error; or it takes as text what PyYAML
            # takes for a date, such as 2026-13-01.
            continue
        if sections and not any(_matches(section, own) for section in sections):
            yield (
                f'{path} has no effect: its parameters are for {", ".join(sections)}, and this '
                f'node is {own}; name the section {own} or /**'
            )


def _remappings(node: Node, argv: Sequence[str]) -> Iterator[str]:
    # ROS also applies a rule for the name that the node makes of the remapped image.
    compressed = f'{node.resolve_topic_name("image")}/compressed'
    used = {compressed, *(_expanded(node, name) for name in REMAPPABLE)}
    for rule in (*_values_of(argv, '-r'), *_values_of(argv, '--remap')):
        # A rule may be for one node alone: NODE:FROM:=TO.
        name = rule.partition(':=')[0].replace('rostopic://', '').rpartition(':')[2]
        if _expanded(node, name) in used:
            continue
        # A name that is similar to none of these may be ROS's own: __ns, /rosout, /clock, ...
        if advice := did_you_mean(name, REMAPPABLE):
            yield f'remapping {rule} has no effect{advice}'


def _expanded(node: Node, name: str) -> str:
    """Return the full name of a topic before remapping."""
    if name.startswith('~/'):
        return node.get_fully_qualified_name() + name[1:]
    return name if name.startswith('/') else f'{node.get_namespace().rstrip("/")}/{name}'


def _values_of(argv: Sequence[str], flag: str) -> list[str]:
    """Return what follows each `flag`; all arguments are ROS's, since `segment` has no others."""
    return [following for argument, following in pairwise(argv) if argument == flag]


def _sections(tree: Any, path: str = '') -> Iterator[str]:
    """Yield the node names, which may be patterns, of a parameter file: /**, /front/camera."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if key == 'ros__parameters':
            yield path
        else:
            yield from _sections(value, f'{path}/{str(key).strip("/")}')


def _matches(section: str, name: str) -> bool:
    """Return whether a parameter file's section is for the node with this full name."""
    # In rcl's patterns, ** matches any number of the name's parts, and * matches one.
    parts = {'**': r'(/\w+)*', '*': r'/\w+'}
    pattern = ''.join(parts.get(part, f'/{re.escape(part)}') for part in section.split('/')[1:])
    return re.fullmatch(pattern, name) is not None
