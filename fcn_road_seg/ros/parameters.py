"""Every parameter of the node, once: name, default, text, unit, range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = bool | int | float | str | list[int]


class ParameterError(ValueError):
    """A parameter's value is outside of what the node takes."""


@dataclass(frozen=True)
class Parameter:
    """One node parameter; its type is its default's.

    `minimum` and `maximum` are inclusive and bound each item of a list. `multiple` is the step
    of an integer, `length` a list's. `dynamic` ones can be changed while the node runs.
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
        """The text, with the unit and the choices behind it."""
        parts = [self.text]
        if self.unit:
            parts.append(f'[{self.unit}]')
        if self.choices:
            parts.append(f'One of: {", ".join(self.choices)}.')
        return ' '.join(parts)

    @property
    def allowed(self) -> str:
        """What values are allowed, in words: 'an integer, 0 to 4096 in steps of 32'."""
        words = {
            bool: 'true or false',
            int: 'an integer',
            float: 'a decimal number',
            str: f'one of {", ".join(self.choices)}' if self.choices else 'a string',
            list: f'{self.length} integers',
        }
        text = words[type(self.default)]
        if self.maximum is not None:
            text += f', {self.minimum} to {self.maximum}'
        if self.multiple:
            text += f' in steps of {self.multiple}'
        return text

    def check(self, value: Value) -> None:
        """Raise ParameterError, naming the value and the remedy, if `value` is not allowed."""
        if type(value) is not type(self.default):
            raise ParameterError(
                f'{self.name} {value!r} is not a {type(self.default).__name__}; '
                f'give one such as {self.default!r}'
            )
        if self.choices and value not in self.choices:
            raise ParameterError(
                f'{self.name} {value!r} is unknown; use one of {", ".join(self.choices)}'
            )
        if self.length and isinstance(value, list) and len(value) != self.length:
            raise ParameterError(f'{self.name} {value} has not {self.length} items')
        for number in value if isinstance(value, list) else [value]:
            self._check_number(number)

    def _check_number(self, number: Value) -> None:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return
        # Written so that NaN fails, too.
        if self.minimum is not None and not number >= self.minimum:
            raise ParameterError(f'{self.name} {number} is too small; use at least {self.minimum}')
        if self.maximum is not None and not number <= self.maximum:
            raise ParameterError(f'{self.name} {number} is too large; use at most {self.maximum}')
        if self.multiple and number % self.multiple:
            ok = round(number / self.multiple) * self.multiple or self.multiple
            raise ParameterError(
                f'{self.name} {number} is not a multiple of {self.multiple}; use {ok}'
            )


PARAMETERS = (
    Parameter(
        'checkpoint',
        '',
        'Checkpoint file (.safetensors); empty takes the one that ships with the package.',
    ),
    Parameter(
        'device',
        'auto',
        'auto, cpu, cuda or cuda:N. auto takes the CPU where there is no GPU; cuda insists.',
    ),
    Parameter(
        'precision',
        'auto',
        'Arithmetic of the network. auto is float16 on a GPU and float32 on a CPU; int8 is the '
        'fastest on a CPU with VNNI or AMX, and changes the mask a little.',
        choices=('auto', 'float32', 'float16', 'bfloat16', 'int8'),
    ),
    Parameter(
        'backend',
        'auto',
        'What computes the network. auto is, on a CPU and where they are installed, ncnn for '
        'float32 and OpenVINO for bfloat16 and int8, and PyTorch otherwise; in float32 all give '
        'the same mask.',
        choices=('auto', 'ncnn', 'openvino', 'torch'),
    ),
    Parameter(
        'input_height',
        0,
        "Height at which the network sees a frame; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'input_width',
        0,
        "Width at which the network sees a frame; 0 follows the checkpoint's rule.",
        unit='pixels',
        minimum=0,
        maximum=4096,
        multiple=32,
    ),
    Parameter(
        'roi_top',
        0.0,
        "Share of a frame's height left out at its top (the sky): no road there, and about as "
        'much less time.',
        minimum=0.0,
        maximum=0.9,
    ),
    Parameter(
        'image_transport',
        'raw',
        'raw takes the topic `image`, compressed its JPEG or PNG twin `image/compressed`.',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'input_reliability',
        'auto',
        'QoS of the image subscription. auto takes what the publisher offers, and follows it; '
        'best_effort hears every camera; reliable loses no frame on the way, but hears only '
        'reliable publishers.',
        choices=('auto', 'best_effort', 'reliable'),
    ),
    Parameter(
        'process_every_frame',
        False,
        'Queue frames, and segment every one in order, instead of the newest alone. For bags: a '
        'node that is slower than its camera falls behind and its queue grows.',
    ),
    Parameter(
        'max_image_age',
        0.0,
        'Frames whose stamp is older than this are not segmented, but counted; 0 is no limit.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        dynamic=True,
    ),
    Parameter(
        'threshold',
        0.0,
        "p(road) from which on a pixel is road; 0 takes the checkpoint's.",
        minimum=0.0,
        maximum=0.999,
        dynamic=True,
    ),
    Parameter(
        'overlay_alpha',
        0.4,
        'How strongly the overlay paints the road: 0 not at all, 1 opaque.',
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
        'num_threads',
        0,
        'CPU threads; 0 leaves the number to PyTorch, which takes one a core.',
        minimum=0,
        maximum=1024,
    ),
    Parameter(
        'autostart',
        True,
        'Configure and activate at start; false waits for a lifecycle manager.',
    ),
)


def check_together(values: Mapping[str, Value]) -> None:
    """Raise ParameterError if values that are each allowed do not fit together."""
    height, width = values['input_height'], values['input_width']
    if bool(height) != bool(width):
        raise ParameterError(
            f'input_height {height} and input_width {width} do not fit; set both, or none (0)'
        )
