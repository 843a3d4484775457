"""PARAMETERS declared, validated, held"""

from __future__ import annotations

from array import array
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter as RosParameter

from fcn_road_seg.ros.parameters import Parameter


def _plain(parameter: RosParameter) -> Any:
    """Return the parameter's value as Python's own types (arrays as lists)."""
    value = parameter.value
    return list(value) if isinstance(value, (array, list, tuple)) else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description, read_only=not parameter.dynamic
    )
    low, high = parameter.minimum, parameter.maximum
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        descriptor.integer_range = [
            IntegerRange(from_value=low, to_value=high, step=parameter.multiple or 1)
        ]
    return descriptor
