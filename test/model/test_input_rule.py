import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.model.input_rule import (
    InputRule,
    logit_threshold,
    resize_to_frame,
    resize_to_input,
)


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
        ({'pixels': 1023}, 'pixel count 1023 is too small; use at least 1024'),
        ({'pixels': 64_000_001}, 'pixel count 64000001 is too large; use at most 64000000'),
        ({'pixels': float('nan')}, 'pixel count nan is too large'),
        ({'fixed_hw': (32 * 10**9, 32)}, 'pixel count 1024000000000 is too large'),
        ({}, 'either a pixel count or a fixed size'),
        ({'pixels': 65536, 'fixed_hw': (256, 256)}, 'either a pixel count or a fixed size'),
    ],
)
def test_input_rule_refuses_sizes_the_network_does_not_take(rule, message):
    with pytest.raises(ValueError, match=message):
        InputRule(**rule)


def test_reduced_frame_is_averaged_by_area():
    # At half the size, bilinear sampling would average the same four pixels.
    frame = np.zeros((128, 256, 3), np.uint8)
    frame[0, 0] = 160
    assert resize_to_input(frame, (32, 64))[0, 0].tolist() == [10, 10, 10]


def test_frame_of_one_pixel_fills_the_input_with_its_colour():
    # Without cv2.resize, which refuses it in OpenCV 4.5.4.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv2, 'resize', None)
        enlarged = resize_to_input(np.uint8([[[10, 20, 30]]]), (32, 64))
    assert enlarged.shape == (32, 64, 3)
    assert enlarged.dtype == np.uint8
    assert (enlarged == (10, 20, 30)).all()


def test_frame_enlarged_along_a_side_is_interpolated():
    frame = np.zeros((64, 32, 3), np.uint8)
    frame[:, 16:] = 100
    # Twice as wide: the new pixels lie at 1/4 and 3/4 between the old ones.
    assert resize_to_input(frame, (64, 64))[5, 30:34, 0].tolist() == [0, 25, 75, 100]


def test_logit_is_interpolated_to_the_size_of_the_frame():
    logit = np.float32([[0, 4]])
    assert resize_to_frame(logit, (1, 4)).tolist() == [[0, 1, 3, 4]]


def test_logit_at_the_size_of_the_frame_is_written_to_the_given_array():
    out = np.empty((4, 6), np.float32)
    assert resize_to_frame(np.ones((2, 3), np.float32), (4, 6), out=out) is out
    assert (out == 1).all()


@pytest.mark.parametrize('threshold', [0.01, 0.5, 0.7, 0.999])
def test_logit_threshold_is_the_inverse_of_the_sigmoid(threshold):
    assert 1 / (1 + math.exp(-logit_threshold(threshold))) == pytest.approx(threshold)


@pytest.mark.parametrize('threshold', [0, 1, np.float64(1), -0.5, 1.5, math.nan])
def test_logit_threshold_refuses_what_is_not_between_0_and_1(threshold):
    with pytest.raises(ValueError, match=rf'^threshold {threshold} is not between 0 and 1$'):
        logit_threshold(threshold)
