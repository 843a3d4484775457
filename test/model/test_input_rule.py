import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.model.input_rule import InputRule


def test_kitti_frames_keep_their_aspect_ratio_at_the_pixel_count():
    assert InputRule(pixels=160 * 512).input_hw((375, 1242)) == (160, 512)


@given(
    pixels=st.integers(1024, 2_000_000),
    h=st.integers(1, 64_000_000),
    w=st.integers(1, 64_000_000),
)
def test_input_size_is_a_multiple_of_32_near_the_pixel_count_for_any_frame(pixels, h, w):
    rule = InputRule(pixels=pixels)
    input_h, input_w = rule.input_hw((h, w))
    assert input_h % 32 == input_w % 32 == 0
    assert min(input_h, input_w) >= 32
    assert input_h * input_w <= (math.sqrt(pixels) + 32) ** 2 * 2


@pytest.mark.parametrize(
    ('rule', 'message'),
    [
        ({'fixed_hw': (100, 64)}, 'height 100 is not a multiple of 32; use 96'),
        ({'fixed_hw': (64, 0)}, 'width 0 is not a multiple of 32; use 32'),
        ({'pixels': 10}, 'pixel count 10 is too small'),
        ({}, 'either a pixel count or a fixed size'),
        ({'pixels': 65536, 'fixed_hw': (256, 256)}, 'either a pixel count or a fixed size'),
    ],
)
def test_input_rule_refuses_sizes_the_network_does_not_take(rule, message):
    with pytest.raises(ValueError, match=message):
        InputRule(**rule)
