"""How a network is trained: two recipes, and pieces of them that can be left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fcn_road_seg.model.input_rule import InputRule

# Each piece of a recipe that can be left out, and what its fields are then.
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
    'light': {'light': 0.0},
    'shadows': {'shadows': 0.0},
    'occluders': {'occluders': 0.0},
    'blur': {'blur': 0.0},
}


@dataclass(frozen=True)
class Recipe:
    """Everything about a training but its data, its network and its length.

    `optimizer` is adam or adamw, `warm_up` the share of the steps in which the learning rate
    rises, `cosine` whether it falls to 0 afterwards; `clip_norm` bounds the gradient's norm,
    `ema_decay` weighs the running average of the weights that validates and is shipped (0: the
    weights themselves), `dice` adds the Dice loss to the cross-entropy, whose labels are
    smoothed by `smoothing` (in [0, 1)). `encoder_rate` is the encoder's learning rate relative to
    the decoder's when it begins with trained weights. `input_rule` and the fields from `crop_hw`
    on are those of `Augmentation`.
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
    encoder_rate: float
    mixed_precision: bool
    input_rule: InputRule
    batch: int
    crop_hw: tuple[int, int]
    zoom: tuple[float, float]
    stretch: float
    rotation_deg: float
    mirror: bool
    light: float
    shadows: float
    occluders: float
    blur: float

    def without(self, pieces: Iterable[str]) -> Recipe:
        """Return the recipe with the named `PIECES` left out.

        Raises:
            KeyError: a piece of an unknown name.
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
    encoder_rate=0.1,
    mixed_precision=True,
    input_rule=InputRule(pixels=81_920),
    batch=8,
    crop_hw=(192, 320),
    zoom=(0.7, 2.0),
    stretch=1.1,
    rotation_deg=4.0,
    mirror=True,
    light=1.0,
    shadows=0.4,
    occluders=0.3,
    blur=0.25,
)

# The original one: whole frames squashed to a square, and nothing done to them.
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
