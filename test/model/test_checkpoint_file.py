import copy
import hashlib
import json
import math
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.model.checkpoint import Checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import (
    CheckpointError,
    Provenance,
    read_checkpoint,
    sha256_of_content,
)
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path

PEAKS = tuple(0.1 + i for i in range(13))


@pytest.fixture(scope='module')
def stored(random_checkpoint_path):
    return random_checkpoint_path.read_bytes()


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as error:
        read_checkpoint(path)
    assert '\n' not in str(error.value)
    assert str(path) in str(error.value)


def header_of(stored):
    (length,) = struct.unpack('<Q', stored[:8])
    return json.loads(stored[8 : 8 + length]), 8 + length


def test_everything_beside_the_tensors_comes_back(random_model, tmp_path):
    checkpoint = Checkpoint(
        random_model,
        InputRule(fixed_hw=(256, 512)),
        threshold=0.25,
        provenance=Provenance('some frames', 'research only', {'val': {'iou': 0.5}}),
        activation_peaks=PEAKS,
        agreements={'int8': Agreement(0.9985, 0.0003), 'bfloat16': Agreement(1.0, 0.0)},
    )
    save_checkpoint(checkpoint, tmp_path / 'c.safetensors')
    loaded = read_checkpoint(tmp_path / 'c.safetensors')
    assert loaded.input_rule == checkpoint.input_rule
    assert loaded.threshold == 0.25
    assert loaded.activation_peaks == PEAKS
    assert loaded.agreements == checkpoint.agreements
    assert loaded.provenance == checkpoint.provenance
    assert loaded.model.config == random_model.config
    assert len(loaded.sha256) == 64


def test_flipped_byte_in_the_tensors_is_refused(stored, tmp_path):
    path = tmp_path / 'flipped.safetensors'
    _, start = header_of(stored)
    for position in (start, (start + len(stored)) // 2, len(stored) - 1):
        damaged = bytearray(stored)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        refused(path, 'damaged: its tensors do not match')


@pytest.mark.parametrize('field', ['threshold', 'pixels', 'licence', 'mean'])
def test_changed_metadata_are_refused(stored, tmp_path, field):
    header, start = header_of(stored)
    content = json.loads(header['__metadata__']['content'])
    changed = {'licence': 'public domain', 'threshold': 0.9}
    if field in changed:
        content[field] = changed[field]
    elif field == 'pixels':
        content['input_rule']['pixels'] += 1
    else:
        content['model']['mean'][0] += 0.1
    header['__metadata__']['content'] = json.dumps(content)
    encoded = json.dumps(header).encode()
    path = tmp_path / 'changed.safetensors'
    path.write_bytes(struct.pack('<Q', len(encoded)) + encoded + stored[start:])
    refused(path, 'damaged: its metadata do not match')


def rewritten(stored, path, change):
    """Write `stored` with other content, and that content's own SHA-256."""
    header, start = header_of(stored)
    content = json.loads(header['__metadata__']['content'])
    change(content)
    text = json.dumps(content)
    digest = hashlib.sha256(text.encode()).hexdigest()
    header['__metadata__'].update(content=text, content_sha256=digest)
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(encoded)) + encoded + stored[start:])


def test_file_from_before_int8_loads_without_peaks(stored, tmp_path):
    path = tmp_path / 'older.safetensors'
    rewritten(stored, path, lambda content: content.pop('activation_peaks'))
    assert read_checkpoint(path).activation_peaks is None


def test_file_from_before_widths_loads_at_width_1(wide_checkpoint_path, tmp_path):
    path = tmp_path / 'older.safetensors'
    rewritten(
        wide_checkpoint_path.read_bytes(), path, lambda content: content['model'].pop('width')
    )
    assert read_checkpoint(path).model.config.width == 1


def test_width_comes_back(tmp_path):
    model = RoadFCN(RoadFCNConfig(width=0.25, context=True)).eval()
    save_checkpoint(Checkpoint(model, InputRule(pixels=6144)), tmp_path / 'c.safetensors')
    loaded = read_checkpoint(tmp_path / 'c.safetensors').model
    assert loaded.config.width == 0.25
    expected = model.state_dict()
    assert loaded.arrays.keys() == expected.keys()
    assert all(np.array_equal(loaded.arrays[name], t.numpy()) for name, t in expected.items())


def test_activation_caps_come_back(tmp_path):
    caps = tuple(i / 7 for i in range(1, 14))
    model = RoadFCN(RoadFCNConfig(width=0.25, activation_caps=caps)).eval()
    save_checkpoint(Checkpoint(model, InputRule(pixels=6144)), tmp_path / 'c.safetensors')
    assert read_checkpoint(tmp_path / 'c.safetensors').model.config.activation_caps == caps


def test_file_from_before_activation_caps_loads_without(stored, tmp_path):
    path = tmp_path / 'older.safetensors'
    rewritten(stored, path, lambda content: content['model'].pop('activation_caps'))
    assert read_checkpoint(path).model.config.activation_caps == ()


def test_width_that_the_network_does_not_offer_is_refused(stored, tmp_path):
    path = tmp_path / 'changed.safetensors'
    rewritten(stored, path, lambda content: content['model'].update(width=0.3))
    refused(path, 'does not describe a network: width 0.3 is unknown; use one of')


@pytest.mark.parametrize(
    ('peaks', 'message'),
    [
        (PEAKS[:-1], 'there are 12 activation peaks, not 13: one per convolution'),
        ([], 'there are 0 activation peaks, not 13'),
        ((-1.0, *PEAKS[1:]), 'activation peak -1.0 is not a positive number'),
        ((0.0, *PEAKS[1:]), 'activation peak 0.0 is not a positive number'),
        ((*PEAKS[1:], math.nan), 'activation peak nan is not a positive number'),
        ((*PEAKS[1:], math.inf), 'activation peak inf is not a positive number'),
        ((*PEAKS[1:], 'high'), 'could not convert string to float'),
        ((*PEAKS[1:], None), 'float'),
        (7, 'not iterable'),
    ],
)
def test_invalid_peaks_are_refused(stored, tmp_path, peaks, message):
    path = tmp_path / 'changed.safetensors'
    rewritten(stored, path, lambda content: content.update(activation_peaks=peaks))
    refused(path, f'does not describe a network: .*{message}')


def test_file_from_before_agreements_loads_without_them(stored, tmp_path):
    path = tmp_path / 'older.safetensors'
    rewritten(stored, path, lambda content: content.pop('agreements'))
    assert read_checkpoint(path).agreements == {}


@pytest.mark.parametrize(
    ('agreement', 'message'),
    [
        ({'iou': 1.01, 'pixels_changed': 0.0}, r'IoU 1\.01 is not in \[0, 1\]'),
        ({'iou': math.nan, 'pixels_changed': 0.0}, 'IoU nan is not'),
        ({'iou': 0.9, 'pixels_changed': -0.1}, r'share of changed pixels -0\.1 is not'),
        ({'iou': 0.9}, 'pixels_changed'),
        ({'iou': 'high', 'pixels_changed': 0.0}, 'not supported'),
        (0.9985, 'mapping'),
    ],
)
def test_invalid_agreement_is_refused(stored, tmp_path, agreement, message):
    path = tmp_path / 'changed.safetensors'
    rewritten(stored, path, lambda content: content.update(agreements={'int8': agreement}))
    refused(path, f'does not describe a network: .*{message}')


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.999])
def test_file_cut_short_is_refused(stored, tmp_path, share):
    path = tmp_path / 'short.safetensors'
    path.write_bytes(stored[: int(len(stored) * share)])
    refused(path, 'not a readable safetensors file')


def test_missing_tensor_is_refused_by_name(random_checkpoint, tmp_path, monkeypatch):
    model = random_checkpoint.model
    incomplete = {k: v for k, v in model.state_dict().items() if k != 'decoder.norms.4.weight'}
    monkeypatch.setattr(type(model), 'state_dict', lambda self: incomplete)
    save_checkpoint(random_checkpoint, tmp_path / 'c.safetensors')
    monkeypatch.undo()
    refused(tmp_path / 'c.safetensors', 'missing .*decoder.norms.4.weight')


def test_tensor_of_another_shape_is_refused(random_checkpoint, tmp_path, monkeypatch):
    model = random_checkpoint.model
    state = {**model.state_dict(), 'encoder.features.0.bias': torch.zeros(7)}
    monkeypatch.setattr(type(model), 'state_dict', lambda self: state)
    save_checkpoint(random_checkpoint, tmp_path / 'c.safetensors')
    monkeypatch.undo()
    refused(tmp_path / 'c.safetensors', 'does not describe a network: .*size mismatch')


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_network_that_is_not_finite_is_refused(random_checkpoint, tmp_path, value):
    model = copy.deepcopy(random_checkpoint.model)
    model.encoder.features[10].weight[3, 2, 0, 0] = value
    save_checkpoint(replace(random_checkpoint, model=model), tmp_path / 'c.safetensors')
    refused(tmp_path / 'c.safetensors', r'encoder\.features\.10\.weight holds .* not finite')


@pytest.mark.parametrize('description', [None, [], 'vgg16'])
def test_invalid_description_is_refused(stored, tmp_path, description):
    path = tmp_path / 'changed.safetensors'
    rewritten(stored, path, lambda content: content.update(model=description))
    refused(path, 'does not describe a network: ')


def test_deeply_nested_description_is_refused(random_checkpoint_path, tmp_path):
    content = '[' * 100_000
    metadata = {
        'format': 'fcn_road_seg',
        'format_version': '1',
        'sha256': read_checkpoint(random_checkpoint_path).sha256,
        'content': content,
        'content_sha256': sha256_of_content(content),
    }
    save_file(load_file(random_checkpoint_path), tmp_path / 'c.safetensors', metadata=metadata)
    refused(tmp_path / 'c.safetensors', 'does not describe a network: maximum recursion depth')


def test_foreign_safetensors_file_is_refused(tmp_path):
    save_file({'weight': torch.zeros(3)}, tmp_path / 'foreign.safetensors')
    refused(tmp_path / 'foreign.safetensors', 'not a checkpoint of fcn_road_seg')


def test_newer_format_version_is_refused(random_checkpoint_path, tmp_path):
    tensors = load_file(random_checkpoint_path)
    metadata = {'format': 'fcn_road_seg', 'format_version': '99'}
    save_file(tensors, tmp_path / 'newer.safetensors', metadata=metadata)
    refused(tmp_path / 'newer.safetensors', 'format version 99, but this package reads 1')


@pytest.mark.parametrize('save', [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_pickle_is_refused_unread(tmp_path, save):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath('touched').touch, ())

    path = tmp_path / 'model.safetensors'
    save({'w': torch.zeros(2)} if save is torch.save else Evil(), path)
    refused(path, 'is a pickle .* never read')
    assert not (tmp_path / 'touched').exists()


def test_header_that_is_as_long_as_a_pickles_first_byte_says_is_read(random_checkpoint, tmp_path):
    path = tmp_path / 'c.safetensors'
    save_checkpoint(random_checkpoint, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], 'little')
    header, tensors = content[8 : 8 + length], content[8 + length :]
    # Spaces behind the header are the format's own padding.
    padded = header + b' ' * ((0x80 - length) % 256)
    path.write_bytes(len(padded).to_bytes(8, 'little') + padded + tensors)
    assert path.read_bytes().startswith(b'\x80')
    assert read_checkpoint(path).sha256


def test_missing_file_is_refused(tmp_path):
    refused(tmp_path / 'nowhere.safetensors', 'does not exist')


def test_shipped_checkpoint_loads_and_tells_its_origin():
    checkpoint = read_checkpoint(default_checkpoint_path())
    assert checkpoint.model.config.encoder == 'vgg16'
    assert 'non-commercial' in checkpoint.provenance.licence
    assert checkpoint.provenance.metrics
