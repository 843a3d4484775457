import pytest
import torch

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.synthetic.cast_shadows import cast_shadows
from fcn_road_seg.training.augmentation import Augmentation, exchange_styles, paste_occluders

ZOOM, LIGHT = (0.7, 1.8), 1.0


def augmentation(crop_hw, seen_hw, **parts):
    """Everything off but `parts`; a frame of any size is seen at `seen_hw`."""
    return Augmentation(crop_hw, InputRule(fixed_hw=seen_hw), **parts)


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
    ((x, y),) = augmentation((64, 96), (64, 96))([frame], [label])
    assert torch.allclose(x[0], frame / 255, atol=1e-5)
    assert torch.equal(y[0], label)


def test_frames_of_different_sizes_become_one_batch_of_crops():
    pairs = [scene(64, 96), scene(375, 1242), scene(30, 200)]
    ((x, y),) = augmentation((32, 64), (64, 96), zoom=ZOOM, stretch=1.0, shadows=1.0, light=LIGHT)(
        [f for f, _ in pairs], [lb for _, lb in pairs]
    )
    assert x.shape == (3, 3, 32, 64)
    assert y.shape == (3, 32, 64)
    assert y.dtype == torch.uint8
    assert x.min() >= 0
    assert x.max() <= 1


def test_labels_follow_their_pixels_through_the_geometry():
    frame, label = scene(96, 160)
    turned = augmentation((96, 160), (96, 160), zoom=ZOOM, rotation_deg=20, mirror=True)
    ((x, y),) = turned([frame] * 20, [label] * 20)
    blue = x[:, 2]
    clear = (y != VOID) & ((blue < 0.01) | (blue > 0.99))
    assert clear.float().mean() > 0.5
    assert ((blue > 0.5) == (y == ROAD))[clear].all()
    assert not all(torch.equal(y[0], other) for other in y)


def test_labels_take_no_values_in_between():
    frame, label = scene(50, 70)
    label[:5] = VOID
    ((_, y),) = augmentation((64, 64), (64, 96), rotation_deg=30)([frame] * 10, [label] * 10)
    assert set(y.unique().tolist()) == {BACKGROUND, ROAD, VOID}


def test_what_lies_outside_of_the_frame_is_void():
    frame, label = scene(32, 48)
    ((_, y),) = augmentation((32, 96), (32, 96), zoom=(0.5, 0.5))([frame], [label])
    assert (y == VOID).sum() == 32 * 96 * 3 // 4


def test_zoom_is_relative_to_the_frame_as_the_network_sees_it():
    frame, label = scene(64, 96)
    # Seen at 32 x 64, a third of its pixels: 48 columns are three quarters of its width.
    ((x, y),) = Augmentation((32, 48), InputRule(pixels=32 * 64))([frame], [label])
    rows = (y[0] == ROAD).any(dim=1).sum().item()
    assert rows == pytest.approx(32 / 3, abs=1)
    assert x.shape == (1, 3, 32, 48)


def test_crops_of_the_inputs_size_are_the_frames_as_the_network_sees_them():
    rule = InputRule(pixels=64 * 96)
    pairs = [scene(64, 96), scene(128, 64), scene(64, 96)]
    crops = Augmentation(None, rule)([f for f, _ in pairs], [lb for _, lb in pairs])
    (wide_x, wide_y), (high_x, high_y) = crops
    assert torch.allclose(wide_x, torch.stack([pairs[0][0], pairs[2][0]]) / 255, atol=1e-5)
    assert torch.equal(wide_y, torch.stack([pairs[0][1], pairs[2][1]]))
    assert high_x.shape[-2:] == high_y.shape[-2:] == rule.input_hw((128, 64)) == (96, 64)


def test_crops_of_the_inputs_size_have_narrow_margins():
    frame, label = scene(64, 96)
    # Seen at this factor, the frame would leave three quarters of the crop void.
    ((_, y),) = Augmentation(None, InputRule(pixels=64 * 96), zoom=(0.5, 0.5))([frame], [label])
    assert 0 < (y == VOID).float().mean() < 0.3


def test_mirror_turns_about_half_of_the_crops_around():
    frame, label = scene(64, 96)
    ((_, y),) = augmentation((64, 96), (64, 96), mirror=True)([frame] * 60, [label] * 60)
    mirrored = [torch.equal(crop, label.flip(1)) for crop in y]
    same = [torch.equal(crop, label) for crop in y]
    assert sum(mirrored) + sum(same) == 60
    assert 15 <= sum(mirrored) <= 45


def test_light_changes_frames_one_by_one_and_no_label():
    frame = torch.full((3, 32, 32), 120, dtype=torch.uint8)
    label = torch.ones(32, 32, dtype=torch.uint8)
    ((x, y),) = augmentation((32, 32), (32, 32), light=LIGHT)([frame] * 8, [label] * 8)
    means = x.mean(dim=(1, 2, 3))
    assert (y == ROAD).all()
    assert means.std() > 0.03
    assert len(set(means.tolist())) == 8


def spectrum(x):
    return torch.fft.fft2(x, norm='forward')


def grey_crops(*sizes_hw):
    """A batch of one crop for each size, none of which comes near 0 or 1."""
    return [0.4 + 0.1 * torch.rand(1, 3, h, w) + 0.05 * i for i, (h, w) in enumerate(sizes_hw)]


def test_style_changes_only_amplitudes_of_low_frequencies():
    batches = grey_crops((64, 96), (64, 96))
    for x, styled in zip(batches, exchange_styles(batches, 1.0), strict=True):
        before, after = spectrum(x), spectrum(styled)
        differs = (before.abs() - after.abs()).abs() > 1e-6
        highest = [int(index.max()) for index in differs.nonzero(as_tuple=True)[2:]]
        assert differs[..., 0, 0].all()
        assert not differs[..., 11:-10, :].any()
        assert not differs[..., 11:-10].any()
        assert min(highest) > 0
        # The angle of a tiny amplitude means nothing.
        turned = torch.angle(before * after.conj()).abs()
        assert turned[before.abs() > 1e-4].max() < 1e-2


def test_style_comes_from_crops_of_any_size_and_moves_part_of_the_way():
    batches = grey_crops((64, 96), (30, 200))
    ways = set()
    for _ in range(5):
        for x, styled, other in zip(
            batches, exchange_styles(batches, 1.0), batches[::-1], strict=True
        ):
            way = (styled.mean() - x.mean()) / (other.mean() - x.mean())
            assert -1e-4 < way < 1 + 1e-4
            ways.add(round(float(way), 3))
    assert len(ways) > 5


def test_crops_that_are_not_chosen_and_a_single_crop_keep_their_style():
    batches = grey_crops((64, 96), (30, 200))
    for x, same in zip(batches, exchange_styles(batches, 0.0), strict=True):
        assert torch.equal(same, x)
    (alone,) = exchange_styles(batches[:1], 1.0)
    assert torch.allclose(alone, batches[0], atol=1e-5)
    (tiny,) = exchange_styles([torch.rand(4, 3, 2, 5)], 1.0)
    assert tiny.shape == (4, 3, 2, 5)


def test_same_seed_gives_the_same_crops():
    frame, label = scene(64, 96)
    every = {
        'zoom': ZOOM,
        'style': 0.5,
        'light': LIGHT,
        'shadows': 0.5,
        'occluders': 0.5,
        'blur': 0.5,
    }
    augment = augmentation((32, 32), (64, 96), **every)
    torch.manual_seed(5)
    ((first_x, first_y),) = augment([frame], [label])
    torch.manual_seed(5)
    ((second_x, second_y),) = augment([frame], [label])
    assert torch.equal(first_x, second_x)
    assert torch.equal(first_y, second_y)


def test_shadows_only_darken_and_leave_some_light():
    frames = torch.full((16, 3, 48, 96), 0.8)
    shaded = cast_shadows(frames)
    assert (shaded <= frames + 1e-6).all()
    assert shaded.min() > 0.8 * 0.15
    assert shaded.mean() < 0.75
    # Somewhere in the batch there is full shade and full light.
    assert (shaded < 0.5).any()
    assert (shaded > 0.79).any()


def test_shade_is_bluer_than_light():
    shaded = cast_shadows(torch.full((32, 3, 48, 96), 0.8))
    red, _, blue = shaded.mean(dim=(0, 2, 3))
    assert blue > red


def test_shadows_differ_from_crop_to_crop_and_repeat_with_the_seed():
    frames = torch.full((2, 3, 48, 96), 0.8)
    torch.manual_seed(3)
    first = cast_shadows(frames)
    torch.manual_seed(3)
    assert torch.equal(cast_shadows(frames), first)
    assert not torch.equal(first[0], first[1])


def test_pasted_things_are_background_and_never_come_from_road():
    # The one crop is all road, the other all background.
    x = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    y = torch.stack([torch.ones(64, 64), torch.zeros(64, 64)]).to(torch.uint8)
    chosen = torch.ones(2, 1, 1, 1, dtype=torch.bool)
    pasted_x, pasted_y = paste_occluders(x, y, chosen)
    covered = pasted_y[0] == BACKGROUND
    assert 0 < covered.sum() < 64 * 64
    assert torch.equal(pasted_x[0, 0] == 1, covered)
    assert torch.equal(pasted_x[1], x[1])
    assert torch.equal(pasted_y[1], y[1])


def test_crops_that_are_not_chosen_get_nothing_pasted():
    x, y = torch.rand(2, 3, 32, 32), torch.ones(2, 32, 32, dtype=torch.uint8)
    pasted_x, pasted_y = paste_occluders(x, y, torch.zeros(2, 1, 1, 1, dtype=torch.bool))
    assert torch.equal(pasted_x, x)
    assert torch.equal(pasted_y, y)


def test_blur_takes_sharpness_and_keeps_the_mean():
    frame = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    label = torch.zeros(64, 64, dtype=torch.uint8)
    ((x, _),) = augmentation((64, 64), (64, 64), blur=1.0)([frame] * 8, [label] * 8)
    assert x.mean().item() == pytest.approx(frame.float().mean().item() / 255, abs=0.01)
    for blurred in x:
        assert blurred.std() < (frame / 255).std() * 0.95
        # In both directions, details are left.
        assert min(blurred.std(dim=side).mean() for side in (1, 2)) > 0.02


def test_stretch_is_mostly_little_and_sometimes_threefold():
    frame = torch.zeros(3, 64, 256, dtype=torch.uint8)
    label = torch.zeros(64, 256, dtype=torch.uint8)
    label[:, 100:140] = ROAD
    ((_, y),) = augmentation((64, 256), (64, 256), stretch=1.1)([frame] * 200, [label] * 200)
    widths = (y[:, 30] == ROAD).sum(dim=1) / 40
    assert widths.min() < 0.5
    assert widths.max() > 2
    assert ((widths > 0.85) & (widths < 1.18)).float().mean() > 0.4
