import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg.commands import train
from fcn_road_seg.model.checkpoint import load_checkpoint

TINY = [
    *('--encoder=vgg16_bn', '--weights=none', '--pixels=6144', '--batch=4'),
    *('--accelerator=cpu', '--devices=1'),
]


@pytest.fixture(scope='module')
def easy_data(tmp_path_factory):
    """Frames whose lower part is grey road under a green background."""
    root = tmp_path_factory.mktemp('easy')
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        mask = np.zeros((64, 96), np.uint8)
        mask[rng.integers(20, 44) :, rng.integers(0, 30) : rng.integers(60, 96)] = 255
        frame_bgr = np.where(mask[..., None] > 0, [120, 120, 120], [40, 160, 60])
        noisy = frame_bgr + rng.normal(0, 10, frame_bgr.shape)
        cv2.imwrite(str(root / f'images/{i}.png'), noisy.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / f'masks/{i}.png'), mask)
    return root


def test_training_without_validation_frames_still_gives_a_checkpoint(easy_data, tmp_path):
    arguments = ['--data', str(easy_data), '--val-fraction', '0', '--crop', '32', '32']
    train.main([*TINY, *arguments, '--steps', '1', '--val-every', '1', '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').provenance.metrics == {}


def test_training_learns_an_easy_task_and_writes_a_checkpoint(easy_data, tmp_path, capsys):
    arguments = ['--data', str(easy_data), '--crop', '32', '64', '--out', str(tmp_path)]
    steps = ['--steps', '60', '--val-every', '60']
    assert (
        train.main([*TINY, *arguments, *steps, '--licence', 'made up', '--threshold', '0.7']) == 0
    )
    checkpoint = load_checkpoint(tmp_path / 'road_fcn.safetensors')
    assert checkpoint.model.config.encoder == 'vgg16'
    assert checkpoint.input_rule.pixels == 6144
    assert checkpoint.threshold == 0.7
    assert checkpoint.provenance.licence == 'made up'
    assert f'{easy_data.name} (8 frames)' in checkpoint.provenance.training_data
    assert checkpoint.provenance.metrics[easy_data.name]['iou'] > 0.8
    assert len(checkpoint.activation_peaks) == 13


def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    easy_data, tmp_path, monkeypatch
):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32']
    arguments += ['--steps', '6', '--val-every', '2', '--batch', '2']
    train.main([*arguments, '--out', str(tmp_path / 'whole')])

    def cut_off(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 5:
            raise KeyError('power cut')

    with monkeypatch.context() as patched:
        patched.setattr(train.RoadTraining, 'on_train_batch_end', cut_off)
        with pytest.raises(KeyError, match='power cut'):
            train.main([*arguments, '--out', str(tmp_path / 'cut')])
    last = tmp_path / 'cut/last.ckpt'
    assert torch.load(last, weights_only=True)['global_step'] == 4
    train.main([*arguments, '--out', str(tmp_path / 'cut'), '--resume', str(last)])
    whole, cut = (
        torch.load(tmp_path / run / 'last.ckpt', weights_only=True) for run in ('whole', 'cut')
    )
    assert cut['global_step'] == whole['global_step'] == 6
    for kind in ('state_dict', 'current_model_state'):
        assert whole[kind].keys() == cut[kind].keys()
        for name, tensor in whole[kind].items():
            assert torch.equal(tensor, cut[kind][name]), name
    moments = [ckpt['optimizer_states'][0]['state'] for ckpt in (whole, cut)]
    for number, state in moments[0].items():
        assert all(torch.equal(state[k], moments[1][number][k]) for k in state), number
    # The average is not the last weights.
    assert not torch.equal(
        whole['state_dict']['net.decoder.deconvs.0.weight'],
        whole['current_model_state']['net.decoder.deconvs.0.weight'],
    )


def test_run_is_not_overwritten_by_another(easy_data, tmp_path):
    (tmp_path / 'last.ckpt').write_bytes(b'of another run')
    with pytest.raises(SystemExit, match=r'train: .* holds another run; say --resume .*last.ckpt'):
        train.main([*TINY, '--data', str(easy_data), '--out', str(tmp_path)])
    assert (tmp_path / 'last.ckpt').read_bytes() == b'of another run'


def test_loss_that_is_not_finite_ends_the_training_and_keeps_what_there_is(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32', '--batch', '2']
    arguments += ['--steps', '40', '--val-every', '1', '--out', str(tmp_path)]
    with pytest.raises(
        SystemExit, match=r'train: the loss is (nan|inf) at step \d+; lower --learn'
    ):
        train.main([*arguments, '--learning-rate', '1e30', '--without', 'clipping', 'warm-up'])
    kept = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert kept['global_step'] >= 1


def test_run_without_a_better_network_ends_early_and_keeps_the_best(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32', '--batch', '1']
    arguments += ['--steps', '9', '--val-every', '1', '--out', str(tmp_path), '--without', 'ema']
    # At this rate the weights, and so the masks, stay as they are.
    train.main([*arguments, '--learning-rate', '1e-12', '--freeze', '9', '--patience', '2'])
    steps = [
        torch.load(tmp_path / f'{name}.ckpt', weights_only=True)['global_step']
        for name in ('best', 'last')
    ]
    assert steps[0] < steps[1] < 9


def test_frozen_encoder_stays_as_it_is_statistics_included(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32', '--batch', '2']
    arguments += ['--steps', '2', '--val-every', '2', '--without', 'ema']
    torch.manual_seed(3)
    start = train.RoadFCN(train.RoadFCNConfig(encoder='vgg16_bn'))
    weights = tmp_path / 'vgg16_bn.pth'
    torch.save(
        {f'features.{k}': v for k, v in start.encoder.features.state_dict().items()}, weights
    )
    for run, freeze in (('frozen', '2'), ('free', '1')):
        out = ['--out', str(tmp_path / run), '--freeze', freeze, '--weights', str(weights)]
        train.main([*arguments, *out])
    frozen, free = (
        torch.load(tmp_path / run / 'last.ckpt', weights_only=True)['state_dict']
        for run in ('frozen', 'free')
    )
    for name, tensor in start.encoder.state_dict().items():
        assert torch.equal(tensor, frozen[f'net.encoder.{name}']), name
    changed = {
        n for n, t in start.encoder.state_dict().items() if not t.equal(free[f'net.encoder.{n}'])
    }
    assert {'features.0.weight', 'features.1.running_mean'} <= changed


def test_training_goes_on_from_a_checkpoint_of_the_same_network(tmp_path):
    net = train.RoadFCN()
    path = tmp_path / 'a.safetensors'
    train.save_checkpoint(train.Checkpoint(net, train.InputRule(pixels=6144)), path)
    other = train.RoadFCN()
    train.load_weights(other, str(path))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    with pytest.raises(ValueError, match=r'a.safetensors holds no weights for this network'):
        train.load_weights(train.RoadFCN(train.RoadFCNConfig(encoder='vgg16_bn')), str(path))


def test_weights_that_cannot_be_had_are_one_line(tmp_path):
    with pytest.raises(ValueError, match=r'none.pth cannot be had .*; use --weights FILE, or'):
        train.load_weights(train.RoadFCN(), str(tmp_path / 'none.pth'))
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(ValueError, match=r'text.pth holds no weights for this network'):
        train.load_weights(train.RoadFCN(), str(tmp_path / 'text.pth'))


def test_two_processes_train_one_network(easy_data, tmp_path):
    command = [
        sys.executable,
        '-m',
        'fcn_road_seg.commands.train',
        *TINY,
        '--data',
        str(easy_data),
    ]
    command += ['--crop', '32', '32', '--batch', '2', '--steps', '2', '--val-every', '2']
    command += ['--devices', '2', '--out', str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert 'distributed_backend=gloo' in ended.stderr
    checkpoint = load_checkpoint(tmp_path / 'road_fcn.safetensors')
    assert 0 <= checkpoint.provenance.metrics[easy_data.name]['iou'] <= 1
    saved = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert saved['global_step'] == 2


def test_run_leaves_curves_predictions_and_tensorboard_events(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32', '--out', str(tmp_path)]
    train.main([*arguments, '--steps', '1', '--val-every', '1', '--batch', '1'])
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None
    # Two validation frames of 64 x 96 in a sheet of four columns.
    assert cv2.imread(str(tmp_path / 'predictions.png')).shape == (320, 4 * 480, 3)
    assert list(tmp_path.glob('tensorboard/version_0/events.*'))
    assert list(tmp_path.glob('metrics/version_0/metrics.csv'))


def test_data_at_fault_is_named_before_training_starts(easy_data, tmp_path):
    with pytest.raises(SystemExit, match=r'train: .* is no known data set'):
        train.main(['--weights', 'none', '--data', str(tmp_path)])
    with pytest.raises(SystemExit, match='nothing to train on; give --data'):
        train.main(['--weights', 'none'])
    for arguments, reason in (
        (
            ['--data', str(easy_data), '--val-fraction', '2'],
            r'val_fraction 2.0 is not in \[0, 1\)',
        ),
        (['--rendered', '4', '--skip-scales', '1'], 'give one a skip'),
        (['--rendered', '4', '--pixels', '5'], 'pixel count 5 is too small'),
    ):
        with pytest.raises(SystemExit, match=f'train: .*{reason}'):
            train.main(['--weights', 'none', *arguments])


def test_classic_recipe_sees_whole_frames_at_256_by_256(easy_data, tmp_path):
    arguments = ['--data', str(easy_data), '--recipe', 'classic', '--batch', '1', '--steps', '1']
    train.main([*TINY[:2], *TINY[4:], *arguments, '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').input_rule.fixed_hw == (256, 256)
