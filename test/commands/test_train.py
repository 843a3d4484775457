import logging
import os
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from fcn_road_seg.commands import train
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.evaluation.metrics import RoadHistogram
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from test.helpers.easy_data import TINY, write_easy_data

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')


def test_training_without_validation_frames_says_so_and_still_gives_a_checkpoint(
    easy_data, tmp_path, caplog, monkeypatch
):
    # Lightning's logger passes nothing on.
    monkeypatch.setattr(logging.getLogger('lightning.pytorch'), 'propagate', True)
    arguments = ['--data', str(easy_data), '--val-fraction', '0', '--crop', '32x32']
    train.main([*TINY, *arguments, '--steps', '1', '--val-every', '1', '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').provenance.metrics == {}
    assert 'train: no data set has validation frames: there will be no IoU' in caplog.text


@pytest.fixture(scope='module')
def trained(easy_data, tmp_path_factory):
    """The checkpoint of a run of 120 steps, at a threshold of 0.7."""
    out = tmp_path_factory.mktemp('trained')
    arguments = ['--data', str(easy_data), '--crop', '32x64', '--out', str(out)]
    arguments += ['--steps', '120', '--val-every', '120', '--threshold', '0.7']
    assert train.main([*TINY, *arguments, '--licence', 'made up']) == 0
    return load_checkpoint(out / 'road_fcn.safetensors')


def test_training_learns_an_easy_task(trained, easy_data):
    assert trained.provenance.metrics[easy_data.name]['iou'] > 0.8


def test_checkpoint_names_its_data_and_their_licence(trained, easy_data):
    assert f'{easy_data.name} (8 frames)' in trained.provenance.training_data
    assert trained.provenance.licence == 'made up'


def test_checkpoint_has_the_input_rule_and_the_threshold_of_the_run(trained):
    assert trained.input_rule.pixels == 6144
    assert trained.threshold == 0.7


def test_checkpoint_is_folded_and_ready_for_int8(trained):
    assert trained.model.config == RoadFCNConfig('vgg16', width=0.25)
    assert len(trained.activation_peaks) == 13


def test_checkpoint_records_how_far_other_precisions_agree(trained):
    # All machines have this one.
    assert 0.99 < trained.agreements['float16'].iou <= 1


@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_iou_in_the_checkpoint_is_that_of_its_masks_from_the_segmenter(
    easy_data, tmp_path, threshold
):
    # 64 x 96 frames are reduced to 32 x 64: a wrong way of resizing, or threshold, would show.
    arguments = ['--data', str(easy_data), '--crop', '32x64', '--out', str(tmp_path)]
    arguments += ['--steps', '40', '--val-every', '40', '--threshold', str(threshold)]
    train.main([*TINY, *arguments, '--pixels', '2048', '--accelerator', 'cpu'])
    path = tmp_path / 'road_fcn.safetensors'
    segmenter = RoadSegmenter(path, 'cpu', 'float32', backend='torch')
    histogram = RoadHistogram()
    for frame in find_frames(easy_data, 'val'):
        frame_rgb, label = frame.load()
        histogram.add(segmenter(frame_rgb, channel_order='rgb').mask, label)
    written = load_checkpoint(path).provenance.metrics[easy_data.name]['iou']
    assert 0.1 < written < 0.999
    assert written == pytest.approx(histogram.mask_measures(128).iou, abs=0.002)


def test_loss_that_is_not_finite_ends_the_training_and_keeps_what_there_is(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--steps', '40', '--val-every', '1', '--out', str(tmp_path)]
    with pytest.raises(
        SystemExit, match=r'train: the loss is (nan|inf) at step \d+; lower --learn'
    ):
        train.main([*arguments, '--learning-rate', '1e30', '--without', 'clipping', 'warm-up'])
    kept = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert kept['global_step'] >= 1


def test_run_without_a_better_network_ends_early_and_keeps_the_best(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '1']
    arguments += ['--steps', '9', '--val-every', '1', '--out', str(tmp_path), '--without', 'ema']
    # At this rate the weights, and so the masks, stay as they are.
    train.main([*arguments, '--learning-rate', '1e-12', '--freeze', '9', '--patience', '2'])
    steps = [
        torch.load(tmp_path / f'{name}.ckpt', weights_only=True)['global_step']
        for name in ('best', 'last')
    ]
    assert steps[0] < steps[1] < 9


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """The state of a random encoder, by name, and a file of it as torchvision writes them."""
    torch.manual_seed(3)
    state = RoadFCN(RoadFCNConfig('vgg16_bn', width=0.25)).encoder.state_dict()
    path = tmp_path_factory.mktemp('pretrained') / 'vgg16_bn.pth'
    torch.save(state, path)
    return state, path


@pytest.fixture
def encoder_after(easy_data, pretrained, tmp_path):
    """A function that trains the encoder for two steps with options and returns its state."""

    def train_encoder(*options):
        arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
        arguments += ['--steps', '2', '--val-every', '2', '--without', 'ema']
        out = tmp_path / '_'.join(options)
        train.main([*arguments, *options, '--weights', str(pretrained[1]), '--out', str(out)])
        state = torch.load(out / 'last.ckpt', weights_only=True)['state_dict']
        return {name: state[f'net.encoder.{name}'] for name in pretrained[0]}

    return train_encoder


def test_frozen_encoder_stays_as_it_is_statistics_included(pretrained, encoder_after):
    state, _ = pretrained
    frozen, free = encoder_after('--freeze', '2'), encoder_after('--freeze', '1')
    for name, tensor in state.items():
        assert torch.equal(tensor, frozen[name]), name
    changed = {name for name, tensor in state.items() if not tensor.equal(free[name])}
    assert {'features.0.weight', 'features.1.running_mean'} <= changed


def test_frozen_stages_stay_as_they_are_and_the_others_learn(pretrained, encoder_after):
    state, _ = pretrained
    trained = encoder_after('--freeze-stages', '2')
    same = {name for name, tensor in state.items() if tensor.equal(trained[name])}
    # Two stages of vgg16_bn are its layers 0 to 13.
    assert same == {name for name in state if int(name.split('.')[1]) <= 13}


def test_frozen_norms_keep_their_statistics_and_their_weights_learn(easy_data, tmp_path):
    (tmp_path / 'high').mkdir()
    high = write_easy_data(tmp_path / 'high', frame_hw=(96, 64))
    arguments = [*TINY, '--steps', '2', '--val-every', '2', '--without', 'ema']
    data = [f'{easy_data}=1', f'{high}=1']
    train.main([*arguments, '--data', data[0], '--crop', '32x32', '--out', str(tmp_path / 'a')])
    initial = tmp_path / 'a' / 'last.ckpt'
    arguments += ['--data', *data, '--crop', 'input', '--freeze-norms', '--weights', str(initial)]
    train.main([*arguments, '--out', str(tmp_path / 'b')])
    before, after = (
        torch.load(tmp_path / run / 'last.ckpt', weights_only=True)['state_dict'] for run in 'ab'
    )
    names = [name for name in before if name.startswith('net.')]
    statistics = {name for name in names if 'running_' in name or 'num_batches' in name}
    assert statistics == {name for name in names if before[name].equal(after[name])}


def test_run_leaves_curves_predictions_and_tensorboard_events(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--out', str(tmp_path)]
    train.main([*arguments, '--steps', '1', '--val-every', '1', '--batch', '1'])
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None
    # Two validation frames of 64 x 96 in a sheet of four columns.
    assert cv2.imread(str(tmp_path / 'predictions.png')).shape == (320, 4 * 480, 3)
    assert list(tmp_path.glob('tensorboard/version_0/events.*'))
    assert list(tmp_path.glob('metrics/version_0/metrics.csv'))


@pytest.mark.parametrize('name', ['50 %d #1?=2', "'$x_{\n*[b]"])
def test_paths_of_any_characters_are_read_and_written(name, easy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Lightning would take a relative path that begins so for a URL.
    home = Path(f'http{name}')
    data = home / os.fsdecode(b'caf\xe9=2024')
    shutil.copytree(easy_data, data)
    arguments = [*TINY, '--data', str(data), '--crop', '32x32', '--batch', '1', '--val-every', '1']
    arguments += ['--out', str(home / 'run')]
    assert train.main([*arguments, '--steps', '1']) == 0
    assert train.main([*arguments, '--steps', '2', '--resume', str(home / 'run/last.ckpt')]) == 0
    checkpoint = load_checkpoint(home / 'run/road_fcn.safetensors')
    assert list(checkpoint.provenance.metrics) == ['caf\\xe9=2024']
    written = {path.name for path in (home / 'run').iterdir()}
    assert written == {
        *('best.ckpt', 'last.ckpt', 'road_fcn.safetensors', 'metrics', 'tensorboard'),
        *('curves.png', 'predictions.png'),
    }
    assert [path.name for path in tmp_path.iterdir()] == [home.name]


def test_classic_recipe_sees_whole_frames_at_256_by_256(easy_data, tmp_path):
    arguments = ['--data', str(easy_data), '--recipe', 'classic', '--batch', '1', '--steps', '1']
    train.main([*TINY[:2], *TINY[4:], *arguments, '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').input_rule.fixed_hw == (256, 256)
