from dataclasses import fields

import pytest

from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.training.augmentation import Augmentation
from fcn_road_seg.training.recipes import CLASSIC, PIECES, STRONG


def test_classic_is_the_original_recipe():
    assert (CLASSIC.optimizer, CLASSIC.learning_rate, CLASSIC.batch) == ('adam', 0.01, 32)
    assert CLASSIC.input_rule == InputRule(fixed_hw=(256, 256))
    assert CLASSIC.crop_hw == (256, 256)
    assert not any((CLASSIC.dice, CLASSIC.ema_decay, CLASSIC.cosine, CLASSIC.mixed_precision))


@pytest.mark.parametrize('piece', PIECES)
def test_piece_left_out_changes_its_fields_and_no_others(piece):
    without = STRONG.without([piece])
    changed = {
        f.name for f in fields(STRONG) if getattr(without, f.name) != getattr(STRONG, f.name)
    }
    assert changed == set(PIECES[piece])


def test_unknown_piece_is_refused():
    with pytest.raises(KeyError, match='magic'):
        STRONG.without(['magic'])


def test_recipe_has_every_field_of_the_augmentation():
    assert {f.name for f in fields(Augmentation)} <= {f.name for f in fields(STRONG)}
