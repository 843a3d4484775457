"""The parameters of the node: name, default, text, unit, range; each is defined here only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import GroundGrid

Value = bool | int | float | str | list[int]


class ParameterError(ValueError):
    """The value of a parameter is not allowed; the text names it and the remedy in one line."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the node, with the type of its default.

    `minimum` and `maximum` are inclusive, and bound each item of a list. `multiple` is the step
    of an integer, `length` the length of a list. A `dynamic` parameter can be changed in every
    state of the node, the others while it is unconfigured.
    """

    name: str
    default: Value
    text: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    multiple: int = 0
    length: int = 0
    choices: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def description(self) -> str:
        """The text, followed by the unit."""
        return f'{self.text} [{self.unit}]' if self.unit else self.text

    @property
    def constraints(self) -> str:
        """The allowed values in words, if type and range of a ROS parameter cannot tell them."""
        return self.allowed if self.choices or self.length else ''

    @property
    def allowed(self) -> str:
        """The allowed values in words, such as 'an integer, 0 to 4096 in steps of 32'."""
        text = f'one of {", ".join(self.choices)}' if self.choices else self._type_in_words
        if self.maximum is not None:
            text += f', {self.minimum} to {self.maximum}'
        if self.multiple:
            text += f' in steps of {self.multiple}'
        return text

    def check(self, value: Value) -> None:
        """Check one value.

        Raises:
            ParameterError: `value` is not allowed.
        """
        if type(value) is not type(self.default):
            raise ParameterError(
                f'{self.name} {value!r} is not {self._type_in_words}; '
                f'use a value such as {self.default!r}'
            )
        if self.choices and value not in self.choices:
            raise ParameterError(
                f'{self.name} {value!r} is unknown; use one of {", ".join(self.choices)}'
            )
        if self.length and isinstance(value, list) and len(value) != self.length:
            raise ParameterError(f'{self.name} {value} has {len(value)} items; use {self.length}')
        for number in value if isinstance(value, list) else [value]:
            self._check_number(number)

    @property
    def _type_in_words(self) -> str:
        words = {
            bool: 'true or false',
            int: 'an integer',
            float: 'a decimal number',
            str: 'a string',
            list: f'{self.length} integers',
        }
        return words[type(self.default)]

    def _check_number(self, number: Value) -> None:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return
        # Written so that NaN fails too.
        if self.minimum is not None and not number >= self.minimum:
            raise ParameterError(f'{self.name} {number} is too small; use at least {self.minimum}')
        if self.maximum is not None and not number <= self.maximum:
            raise ParameterError(f'{self.name} {number} is too large; use at most {self.maximum}')
        if self.multiple and number % self.multiple:
            nearest = round(number / self.multiple) * self.multiple or self.multiple
            raise ParameterError(
                f'{self.name} {number} is not a multiple of {self.multiple}; use {nearest}'
            )


PARAMETERS = (
    Parameter(
        'checkpoint',
        '',
        'Checkpoint file (.safetensors); empty uses the one shipped with the package.',
    ),
    Parameter(
        'device',
        'auto',
        'Device: auto, cpu, cuda or cuda:N. auto uses the CPU if no GPU is usable; cuda then '
        'fails.',
    ),
    Parameter(
        'precision',
        'auto',
        'Arithmetic of the network. auto is float16 on a GPU and float32 on a CPU; int8 is the '
        'fastest on a CPU with VNNI or AMX, and changes the mask slightly.',
        choices=('auto', 'float32', 'float16', 'bfloat16', 'int8'),
    ),
    Parameter(
        'backend',
        'auto',
        'Library that computes the network. On a CPU, auto uses ncnn for float32 and OpenVINO for '
        'bfloat16 and int8 if they are installed, and PyTorch otherwise; in float32 all give the '
        'same mask.',
        choices=('auto', 'ncnn', 'openvino', 'torch'),
    ),
    Parameter(
        'input_height',
        0,
        "Height of the network's input; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'input_width',
        0,
        "Width of the network's input; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'roi_top',
        0.0,
        "Fraction of a frame's height to skip at the top (the sky). The skipped part is never "
        'road, and saves about the same fraction of the time.',
        minimum=0.0,
        maximum=0.9,
    ),
    Parameter(
        'image_transport',
        'raw',
        'raw subscribes to `image`, compressed to `image/compressed` (JPEG or PNG).',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'input_reliability',
        'auto',
        'Reliability of the image subscription. auto follows what the publishers offer; '
        'best_effort is compatible with every publisher; reliable loses no frame in transport, '
        'but is compatible with reliable publishers only.',
        choices=('auto', 'best_effort', 'reliable'),
    ),
    Parameter(
        'process_every_frame',
        False,
        'Queue the frames and segment each one in order, instead of only the newest. For bags: '
        'if the node is slower than the camera, it falls behind and its queue grows.',
    ),
    Parameter(
        'max_image_age',
        0.0,
        'Count frames whose stamp is older than this instead of segmenting them; 0 is no limit.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    ),
    Parameter(
        'threshold',
        0.0,
        "p(road) from which a pixel is road; 0 uses the checkpoint's threshold.",
        minimum=0.0,
        maximum=0.999,
        dynamic=True,
    ),
    Parameter(
        'overlay_alpha',
        0.4,
        'Opacity of the road in the overlay: 0 is invisible, 1 is opaque.',
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    ),
    Parameter(
        'overlay_color',
        [0, 255, 0],
        'Colour of the road in the overlay: red, green, blue.',
        minimum=0,
        maximum=255,
        length=3,
        dynamic=True,
    ),
    Parameter(
        'camera_height',
        0.0,
        'Height of the camera above the road, for the grid and the points; 0 takes the mounting '
        'from tf.',
        unit='m',
        minimum=0.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        'camera_pitch',
        0.0,
        'Angle by which the camera looks down, if camera_height is set.',
        unit='rad',
        minimum=-0.785,
        maximum=1.571,
        dynamic=True,
    ),
    Parameter(
        'camera_roll',
        0.0,
        "Angle by which the camera's right side is lowered, if camera_height is set.",
        unit='rad',
        minimum=-0.785,
        maximum=0.785,
        dynamic=True,
    ),
    Parameter(
        'rectified',
        False,
        'The images are rectified: camera_info counts by its P, and without distortion.',
    ),
    Parameter(
        'ground_frame',
        'ground',
        'Frame of the grid: x ahead, y left, z up, the road at z = 0. With camera_height it is '
        'right below the camera; otherwise tf must know it.',
    ),
    Parameter(
        'grid_x_min',
        GroundGrid.x_min_m,
        'Distance at which the grid begins.',
        unit='m',
        minimum=-1000.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_x_max',
        GroundGrid.x_max_m,
        'Distance at which the grid ends.',
        unit='m',
        minimum=-1000.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_width',
        GroundGrid.width_m,
        'Width of the grid, half of it on either side.',
        unit='m',
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        'grid_resolution',
        GroundGrid.resolution_m,
        'Side of a cell of the grid.',
        unit='m',
        minimum=0.0,
        maximum=100.0,
    ),
    Parameter(
        'points_stride',
        1,
        'Publish every Nth row and column of the points; consumers that pair them with the '
        'class mask need 1.',
        minimum=1,
        maximum=64,
    ),
    Parameter(
        'num_threads',
        0,
        'Number of CPU threads; 0 leaves it to PyTorch, which uses one per core.',
        minimum=0,
        maximum=1024,
    ),
    Parameter(
        'autostart',
        True,
        'Configure and activate at the start; false waits for a lifecycle manager.',
    ),
)


def check_together(values: Mapping[str, Value]) -> None:
    """Check the values of all parameters, by name, against each other.

    Raises:
        ParameterError: values that are each allowed do not fit together.
    """
    height, width = values['input_height'], values['input_width']
    if bool(height) != bool(width):
        raise ParameterError(
            f'input_height {height} and input_width {width} do not fit together; '
            'set both or neither (0)'
        )
    ranges = ('grid_x_min', 'grid_x_max', 'grid_width', 'grid_resolution')
    try:
        GroundGrid(*(float(values[name]) for name in ranges))  # type: ignore[arg-type]
    except GroundError as error:
        raise ParameterError(f'{", ".join(ranges)}: {error}') from error
