import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_road_seg.inference.cuda_resize import CudaResize
from fcn_road_seg.model.input_rule import resize_to_input

CPU = torch.device('cpu')


def picture(frame_hw, seed):
    """Return a frame with flat areas, edges and noise, as a camera's."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), np.uint8)
    frame = cv2.resize(coarse, frame_hw[::-1], interpolation=cv2.INTER_NEAREST).astype(int)
    return (frame + random.integers(-20, 21, frame.shape)).clip(0, 255).astype(np.uint8)


def differing_share(frame, input_hw):
    """Return how much of what a CPU gives is one level off; assert that nothing is more."""
    resize = CudaResize(frame.shape[:2], input_hw, False, CPU)
    scaled = resize(torch.from_numpy(frame))
    assert scaled.dtype == torch.float32
    difference = np.abs(scaled.numpy() - resize_to_input(frame, input_hw))
    assert difference.max() <= 1
    return np.mean(difference > 0)


@settings(deadline=None, max_examples=60)
@given(
    frame_hw=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    input_32s=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    seed=st.integers(0, 99),
)
def test_any_size_is_resized_as_opencv_does(frame_hw, input_32s, seed):
    input_hw = tuple(32 * n for n in input_32s)
    assert differing_share(picture(frame_hw, seed), input_hw) <= 1e-4


@pytest.mark.parametrize(
    ('frame_hw', 'input_hw'),
    [
        ((375, 1242), (352, 1216)),
        ((375, 1242), (160, 512)),
        ((1080, 1920), (224, 384)),
        ((2160, 3840), (192, 352)),
        ((720, 1280), (192, 384)),
        ((480, 640), (256, 320)),
        ((480, 640), (480, 640)),
        ((240, 320), (256, 256)),
        ((200, 1242), (352, 1216)),
    ],
)
def test_camera_sizes_are_resized_as_opencv_does(frame_hw, input_hw):
    assert differing_share(picture(frame_hw, 3), input_hw) <= 1e-5


@pytest.mark.parametrize('frame_hw', [(1080, 1920), (1200, 1920)])
def test_means_of_many_pixels_are_nearly_all_rounded_as_opencv_does(frame_hw):
    # One of thousands lies between two levels, where the order of its 300 summands decides.
    frame = np.random.default_rng(1).integers(0, 256, (*frame_hw, 3), np.uint8)
    assert differing_share(frame, (64, 96)) <= 1e-3


@pytest.mark.parametrize(
    ('factors', 'share'),
    [
        # Every eighth value of 2 x 2 is a half, which OpenCV rounds up.
        *[(factors, 1e-4) for factors in ((2, 2), (3, 3), (4, 2), (4, 4), (7, 5))],
        # OpenCV divides once and finds the halves; they are no float32 shares. No camera has this.
        *[(factors, 0.02) for factors in ((2, 3), (3, 2))],
    ],
)
def test_whole_factors_round_as_opencv_does(factors, share):
    frame = np.random.default_rng(0).integers(0, 256, (64 * factors[0], 96 * factors[1], 3))
    assert differing_share(frame.astype(np.uint8), (64, 96)) <= share


def test_channels_are_reversed_when_asked_for():
    frame = picture((90, 120), 2)
    as_is, reversed_ = (
        CudaResize((90, 120), (64, 96), reverse, CPU)(torch.from_numpy(frame))
        for reverse in (False, True)
    )
    assert torch.equal(reversed_, as_is.flip(2))
    assert not torch.equal(reversed_, as_is)
