"""The shipped network in 16 bits: a GPU stores activations in float16, which ends at 65,504.

Each layer's output is rounded to float16 here and summed in float32, as a GPU's tensor cores do: a
CPU without AVX-512 FP16 takes minutes for a frame in float16 itself.
"""

from pathlib import Path

import pytest
import torch

from fcn_road_seg.datasets.rendered import rendered_frames
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.input_rule import resize_to_input
from fcn_road_seg.model.road_fcn import fold_batch_norm, road_logit
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.utils.sampling import evenly_spaced

DATA = Path(__file__).parents[3] / 'shared/data'
SETS = ('camvid', 'idd20k_lite', 'kitti_road_consensus', 'cityscapes_pairs')


def frames_of(name):
    if name == 'rendered':
        return [frame for frame, _ in rendered_frames(2, 900_000, 'rendered')]
    if not (DATA / name).is_dir():
        pytest.skip(f'{DATA / name} is not here')
    return [frame.load()[0] for frame in evenly_spaced(find_frames(DATA / name, 'all'), 3)]


@pytest.mark.parametrize('name', ['rendered', *SETS])
@torch.inference_mode()
def test_no_activation_of_the_shipped_network_overflows_float16(name):
    checkpoint = load_checkpoint(default_checkpoint_path())
    model = fold_batch_norm(checkpoint.model)
    half = fold_batch_norm(checkpoint.model)
    outputs = []

    def round_to_float16(_module, _inputs, output):
        rounded = output.half().float()
        outputs.append(rounded.abs().max().item())
        return rounded

    for module in half.modules():
        if not list(module.children()):
            module.register_forward_hook(round_to_float16)
    for frame_rgb in frames_of(name):
        resized = resize_to_input(frame_rgb, checkpoint.input_rule.input_hw(frame_rgb.shape[:2]))
        x = torch.from_numpy(resized).permute(2, 0, 1)[None]
        logit, expected = road_logit(half.scores(x)), road_logit(model.scores(x))
        assert len(outputs) > 30
        # A tenth of what float16 holds leaves room for brighter frames than these.
        assert max(outputs) < 6550
        assert ((logit > 0) == (expected > 0)).float().mean() > 0.998
        outputs.clear()
