import numpy as np
import pytest

from fcn_road_seg.evaluation.corruptions import CORRUPTIONS


@pytest.fixture
def frame_rgb():
    return np.random.default_rng(0).integers(40, 200, (96, 160, 3), np.uint8)


@pytest.mark.parametrize('stress', CORRUPTIONS)
def test_stress_is_the_same_every_time_and_keeps_size_and_type(stress, frame_rgb):
    hardened = CORRUPTIONS[stress](frame_rgb, 7)
    assert hardened.shape == frame_rgb.shape
    assert hardened.dtype == np.uint8
    assert hardened.flags.c_contiguous
    assert not np.array_equal(hardened, frame_rgb)
    assert np.array_equal(hardened, CORRUPTIONS[stress](frame_rgb, 7))


def test_shadows_follow_the_seed_and_only_darken(frame_rgb):
    first, second = (CORRUPTIONS['shadows'](frame_rgb, seed) for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert (first.astype(int) <= frame_rgb).all()


def test_light_is_halved_and_doubled(frame_rgb):
    assert np.abs(CORRUPTIONS['half light'](frame_rgb, 0) - frame_rgb / 2).max() <= 0.5
    expected = np.minimum(frame_rgb.astype(int) * 2, 255)
    assert (CORRUPTIONS['twice light'](frame_rgb, 0) == expected).all()


def test_blur_takes_contrast_and_keeps_the_mean(frame_rgb):
    blurred = CORRUPTIONS['blur'](frame_rgb, 0)
    assert blurred.std() < frame_rgb.std() * 0.8
    assert blurred.mean() == pytest.approx(frame_rgb.mean(), abs=1)


def test_stress_leaves_the_random_numbers_of_the_caller_alone(frame_rgb):
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    CORRUPTIONS['shadows'](frame_rgb, 7)
    assert torch.equal(torch.rand(3), expected)
