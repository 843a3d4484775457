"""Training recipes, and the pieces of them that can be left out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import STAGES

# Each piece of a recipe that can be left out, with the field values that leave it out.
PIECES: dict[str, dict[str, Any]] = {
    'warm-up': {'warm_up': 0.0},
    'cosine': {'cosine': False},
    'clipping': {'clip_norm': None},
    'ema': {'ema_decay': 0.0},
    'dice': {'dice': False},
    'smoothing': {'smoothing': 0.0},
    'zoom': {'zoom': (1.0, 1.0)},
    'stretch': {'stretch': 0.0},
    'rotation': {'rotation_deg': 0.0},
    'mirror': {'mirror': False},
    'style': {'style': 0.0},
    'light': {'light': 0.0},
    'shadows': {'shadows': 0.0},
    'occluders': {'occluders': 0.0},
    'blur': {'blur': 0.0},
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: everything but its data, its architecture and its length.

    Attributes:
        optimizer: adam or adamw.
        learning_rate: the decoder's peak learning rate.
        weight_decay: the optimizer's.
        warm_up: share of the steps, in [0, 1), in which the learning rate rises.
        cosine: whether the learning rate falls along a cosine to 0 after the warm-up.
        clip_norm: upper bound of the gradient's norm; None leaves it unbounded.
        ema_decay: decay per step of the weights' exponential moving average, which is validated
            and written; 0 uses the weights themselves.
        dice: whether the Dice loss is added to the cross-entropy.
        smoothing: label smoothing of the cross-entropy, in [0, 1).
        teacher_weight: factor, above 0, of the `distillation_loss` of a run with a teacher.
        encoder_rate: learning rate of an encoder with initial weights, relative to the decoder's.
        frozen_stages: number of the encoder's five stages, from the first, that keep their initial
            weights. With two, a step takes a quarter less time on a CPU.
        freeze_norms: whether the batch norms keep their initial statistics. Those of a few crops
            of one size would differ from those of all data.
        mixed_precision: whether bfloat16 may be used where it is fast.
        batch: crops per step and device.

    `input_rule` and the fields from `crop_hw` on are those of `Augmentation`.

    Raises:
        ValueError: a rate is out of range.
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    warm_up: float
    cosine: bool
    clip_norm: float | None
    ema_decay: float
    dice: bool
    smoothing: float
    teacher_weight: float
    encoder_rate: float
    frozen_stages: int
    freeze_norms: bool
    mixed_precision: bool
    input_rule: InputRule
    batch: int
    crop_hw: tuple[int, int] | None
    zoom: tuple[float, float]
    stretch: float
    rotation_deg: float
    mirror: bool
    style: float
    light: float
    shadows: float
    occluders: float
    blur: float

    def __post_init__(self) -> None:
        # NaN must fail, too.
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f'learning rate {self.learning_rate} is not a positive number')
        if not 0 < self.teacher_weight < math.inf:
            raise ValueError(f'teacher weight {self.teacher_weight} is not a positive number')
        if not 0 <= self.encoder_rate < math.inf:
            raise ValueError(f'encoder rate {self.encoder_rate} is not a number of at least 0')
        if not 0 <= self.frozen_stages <= STAGES:
            raise ValueError(
                f'{self.frozen_stages} stages cannot be frozen; the encoder has {STAGES}'
            )

    def without(self, pieces: Iterable[str]) -> Recipe:
        """Return the recipe with the named `PIECES` left out.

        Raises:
            KeyError: the name of a piece is unknown.
        """
        recipe = self
        for piece in pieces:
            recipe = replace(recipe, **PIECES[piece])
        return recipe


STRONG = Recipe(
    optimizer='adamw',
    learning_rate=1e-3,
    weight_decay=1e-2,
    warm_up=0.05,
    cosine=True,
    clip_norm=1.0,
    ema_decay=0.998,
    dice=True,
    smoothing=0.05,
    # The teacher counts as much as the labels, whose loss is a cross-entropy plus Dice. Hinton et
    # al. found it best to weight the teacher more than the labels; here it has not been tuned.
    teacher_weight=2.0,
    encoder_rate=0.1,
    frozen_stages=0,
    freeze_norms=False,
    mixed_precision=True,
    input_rule=InputRule(pixels=81_920),
    batch=8,
    crop_hw=(192, 320),
    zoom=(0.7, 1.6),
    stretch=0.7,
    rotation_deg=4.0,
    mirror=True,
    style=0.5,
    light=1.0,
    shadows=0.4,
    occluders=0.3,
    blur=0.25,
)

# The original recipe: whole frames resized to a square, without augmentation.
CLASSIC = replace(
    STRONG.without(PIECES),
    optimizer='adam',
    learning_rate=1e-2,
    weight_decay=0.0,
    encoder_rate=1.0,
    mixed_precision=False,
    input_rule=InputRule(fixed_hw=(256, 256)),
    batch=32,
    crop_hw=(256, 256),
)

RECIPES = {'strong': STRONG, 'classic': CLASSIC}
