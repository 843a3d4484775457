"""The node's parameters: declared with ROS, checked, and held as one frozen value."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from fcn_road_seg.ros.parameter import Parameter, ParameterError
from fcn_road_seg.ros.parameters import PARAMETERS, check_together


@dataclass(frozen=True)
class NodeParameters:
    """The values of PARAMETERS, where their meanings, units, ranges and defaults are defined.

    Raises:
        ParameterError: a value is not allowed; the text is one line for the user.
    """

    checkpoint: str
    device: str
    precision: str
    backend: str
    input_height: int
    input_width: int
    roi_top: float
    image_transport: str
    input_reliability: str
    process_every_frame: bool
    max_image_age: float
    threshold: float
    min_region: float
    overlay_alpha: float
    overlay_color: list[int]
    camera_height: float
    camera_pitch: float
    camera_roll: float
    rectified: bool
    ground_frame: str
    grid_x_min: float
    grid_x_max: float
    grid_width: float
    grid_resolution: float
    points_stride: int
    num_threads: int
    autostart: bool

    def __post_init__(self) -> None:
        values = asdict(self)
        for parameter in PARAMETERS:
            parameter.check(values[parameter.name])
        check_together(values)

    @property
    def input_hw(self) -> tuple[int, int] | None:
        """The network's input size; None follows the checkpoint's rule."""
        return (self.input_height, self.input_width) if self.input_height else None

    def with_changes(self, changes: Iterable[RosParameter]) -> NodeParameters:
        """Return these parameters with `changes`; those that are not in PARAMETERS are skipped.

        Raises:
            ParameterError: a changed value is not allowed.
        """
        names = {parameter.name for parameter in PARAMETERS}
        return replace(self, **{p.name: _plain_value(p) for p in changes if p.name in names})


def check_changes(changes: Iterable[RosParameter], state: str) -> None:
    """Check changes of single parameters in a lifecycle state, such as 'unconfigured'.

    Whether the values fit together is checked only when the node is configured, because
    `ros2 param set` sets one at a time.

    Raises:
        ParameterError: a value is not allowed, or the parameter cannot be changed in this state.
    """
    by_name = {parameter.name: parameter for parameter in PARAMETERS}
    for change in changes:
        parameter = by_name.get(change.name)
        if parameter is None:
            continue
        parameter.check(_plain_value(change))
        if not parameter.dynamic and state != 'unconfigured':
            raise ParameterError(
                f'{parameter.name} cannot be changed while the node is {state}; '
                'clean it up, set the parameter and configure it again'
            )


def declare_parameters(node: Node) -> NodeParameters:
    """Declare PARAMETERS on the node and return their values.

    Raises:
        ParameterError: a value given at the start is not allowed; the text is one line.
    """
    for parameter in PARAMETERS:
        try:
            node.declare_parameter(parameter.name, parameter.default, _descriptor(parameter))
            # An empty list ([]) has no type: rclpy takes it for no value, but only reading fails.
            node.get_parameter(parameter.name)
        except ParameterException as error:
            # rclpy's text names the value but no remedy.
            raise ParameterError(
                f'{error}; {parameter.name} must be {parameter.allowed}'
            ) from error
    return read_parameters(node)


def read_parameters(node: Node) -> NodeParameters:
    """Return the current values of PARAMETERS, which are declared on the node.

    Raises:
        ParameterError: values that are each allowed do not fit together.
    """
    names = [parameter.name for parameter in PARAMETERS]
    return NodeParameters(**{p.name: _plain_value(p) for p in node.get_parameters(names)})


def _plain_value(parameter: RosParameter) -> Any:
    """Return the parameter's value as one of Python's own types (an array as a list)."""
    value = parameter.value
    return list(value) if isinstance(value, (array, list, tuple)) else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    # Never read-only: the parameter could not be set even while the node is unconfigured.
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=parameter.constraints,
    )
    low, high = parameter.minimum, parameter.maximum
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        descriptor.integer_range = [
            IntegerRange(from_value=low, to_value=high, step=parameter.multiple or 1)
        ]
    return descriptor
