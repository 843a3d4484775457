"""How well the masks of a precision agree with those of float32."""

from __future__ import annotations

from dataclasses import dataclass

# `auto` takes a precision only if its masks have at least this IoU with those of float32. 1 - IoU
# is a distance (Jaccard's), which obeys the triangle inequality: no IoU with any labels can then
# differ from float32's by more than 0.002, a fifth of the 0.01 that tells two networks apart.
MIN_IOU = 0.998


@dataclass(frozen=True)
class Agreement:
    """How masks of a precision compare with those of float32, over all pixels of the same frames.

    Attributes:
        iou: IoU of the two masks, in [0, 1].
        pixels_changed: share of the pixels that differ, in [0, 1].

    Raises:
        ValueError: one of them is out of range.
    """

    iou: float
    pixels_changed: float

    def __post_init__(self) -> None:
        for name, value in (('IoU', self.iou), ('share of changed pixels', self.pixels_changed)):
            # NaN must fail, too.
            if not 0 <= value <= 1:
                raise ValueError(f'{name} {value} is not in [0, 1]')

    @property
    def suffices(self) -> bool:
        """Whether the precision may replace float32 without being asked for."""
        return self.iou >= MIN_IOU

    def __str__(self) -> str:
        return f'IoU {self.iou:.4f}, {100 * self.pixels_changed:.3f} % of the pixels differ'
