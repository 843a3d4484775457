"""One parameter of the node: its name, default, text, unit and range; and the check of values."""

from __future__ import annotations

from dataclasses import dataclass

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
        """The allowed values in words, if a ROS parameter's type and range cannot express them."""
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
        if isinstance(value, list) and len(value) != self.length:
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
