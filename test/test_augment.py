import pytest
import torch

from fcn_road_seg.augment import Augmentation
from fcn_road_seg.datasets import BACKGROUND, ROAD, VOID

STILL = {'zoom': (1.0, 1.0), 'stretch': 0.0, 'rotation_deg': 0.0, 'mirror': False, 'light': 0.0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def scene(h, w):
    """A frame whose blue channel is 255 exactly where its label is road."""
    label = torch.zeros(h, w, dtype=torch.uint8)
    label[h // 3 : 2 * h // 3, w // 4 : w // 2] = ROAD
    frame = torch.zeros(3, h, w, dtype=torch.uint8)
    frame[2] = 255 * label
    return frame, label


def test_all_switched_off_gives_the_frame_itself():
    frame, label = scene(64, 96)
    x, y = Augmentation((64, 96), 64 * 96, **STILL)([frame], [label])
    assert torch.allclose(x[0], frame / 255, atol=1e-5)
    assert torch.equal(y[0], label)


def test_frames_of_different_sizes_become_one_batch_of_crops():
    pairs = [scene(64, 96), scene(375, 1242), scene(30, 200)]
    x, y = Augmentation((32, 64), 64 * 96)([f for f, _ in pairs], [lb for _, lb in pairs])
    assert x.shape == (3, 3, 32, 64)
    assert y.shape == (3, 32, 64)
    assert y.dtype == torch.uint8
    assert x.min() >= 0
    assert x.max() <= 1


def test_labels_follow_their_pixels_through_the_geometry():
    frame, label = scene(96, 160)
    augmentation = Augmentation((96, 160), 96 * 160, rotation_deg=20, light=0.0)
    x, y = augmentation([frame] * 20, [label] * 20)
    blue = x[:, 2]
    clear = (y != VOID) & ((blue < 0.01) | (blue > 0.99))
    assert clear.float().mean() > 0.5
    assert ((blue > 0.5) == (y == ROAD))[clear].all()
    assert not all(torch.equal(y[0], other) for other in y)


def test_labels_take_no_values_in_between():
    frame, label = scene(50, 70)
    label[:5] = VOID
    _, y = Augmentation((64, 64), 50 * 70, rotation_deg=30)([frame] * 10, [label] * 10)
    assert set(y.unique().tolist()) == {BACKGROUND, ROAD, VOID}


def test_what_lies_outside_of_the_frame_is_void():
    frame, label = scene(32, 48)
    zoomed_out = {**STILL, 'zoom': (0.5, 0.5)}
    _, y = Augmentation((32, 48), 32 * 48, **zoomed_out)([frame], [label])
    assert (y == VOID).sum() == 32 * 48 * 3 // 4


def test_zoom_is_relative_to_the_frame_as_the_network_sees_it():
    frame, label = scene(64, 96)
    # Seen at a quarter of its pixels, the whole frame is 32 x 48.
    x, y = Augmentation((32, 48), 32 * 48, **STILL)([frame], [label])
    share = (label == ROAD).float().mean().item()
    assert (y == ROAD).float().mean().item() == pytest.approx(share, abs=0.02)
    assert x.shape == (1, 3, 32, 48)


def test_mirror_turns_about_half_of_the_crops_around():
    frame, label = scene(64, 96)
    _, y = Augmentation((64, 96), 64 * 96, **{**STILL, 'mirror': True})([frame] * 60, [label] * 60)
    mirrored = [torch.equal(crop, label.flip(1)) for crop in y]
    same = [torch.equal(crop, label) for crop in y]
    assert sum(mirrored) + sum(same) == 60
    assert 15 <= sum(mirrored) <= 45


def test_light_changes_frames_one_by_one_and_no_label():
    frame = torch.full((3, 32, 32), 120, dtype=torch.uint8)
    label = torch.ones(32, 32, dtype=torch.uint8)
    x, y = Augmentation((32, 32), 1024, **{**STILL, 'light': 1.0})([frame] * 8, [label] * 8)
    means = x.mean(dim=(1, 2, 3))
    assert (y == ROAD).all()
    assert means.std() > 0.03
    assert len(set(means.tolist())) == 8


def test_same_seed_gives_the_same_crops():
    frame, label = scene(64, 96)
    augmentation = Augmentation((32, 32), 64 * 96)
    torch.manual_seed(5)
    first = augmentation([frame], [label])
    torch.manual_seed(5)
    second = augmentation([frame], [label])
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
