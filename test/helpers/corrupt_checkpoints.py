"""Damaged and forged checkpoint files."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fcn_road_seg.model.checkpoint import Checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import sha256_of_arrays, sha256_of_content
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN

Content = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def write_narrow_checkpoint(path: Path) -> Path:
    """Write a checkpoint of 4 MB, of a network with random weights, and return `path`."""
    torch.manual_seed(1)
    model = RoadFCN(RoadFCNConfig(width=0.25)).eval()
    save_checkpoint(Checkpoint(model, InputRule(pixels=6144)), path)
    return path


def header_of(stored: bytes) -> tuple[dict[str, Any], int]:
    """Return a file's header and where its tensors begin."""
    (length,) = struct.unpack('<Q', stored[:8])
    return json.loads(stored[8 : 8 + length]), 8 + length


def with_header(stored: bytes, header: dict[str, Any]) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack('<Q', len(encoded)) + encoded + stored[header_of(stored)[1] :]


def flip(stored: bytes, random: Random) -> bytes:
    """Flip one bit: as often in the header as in the tensors."""
    _, start = header_of(stored)
    at = random.randrange(*random.choice([(0, start), (start, len(stored))]))
    damaged = bytearray(stored)
    damaged[at] ^= 1 << random.randrange(8)
    return bytes(damaged)


def cut(stored: bytes, random: Random) -> bytes:
    return stored[: random.randrange(len(stored))]


def longer(stored: bytes, random: Random) -> bytes:
    return stored + random.randbytes(random.randint(1, 100))


def block_lost(stored: bytes, random: Random) -> bytes:
    """Overwrite 4096 bytes, as many as a disk block has, with zeros."""
    at = random.randrange(len(stored) - 4096)
    return stored[:at] + bytes(4096) + stored[at + 4096 :]


def swapped(stored: bytes, random: Random) -> bytes:
    """Swap the names of two weight tensors, all of which differ."""
    header, _ = header_of(stored)
    shapes = {name: tensor.get('shape', ()) for name, tensor in header.items()}
    first, second = random.sample(sorted(n for n, shape in shapes.items() if len(shape) > 1), 2)
    header[first], header[second] = header[second], header[first]
    return with_header(stored, header)


def header_length(stored: bytes, random: Random) -> bytes:
    lengths = [0, 1, 2**63, 2**64 - 1, len(stored), 100_000_001, random.getrandbits(64)]
    return struct.pack('<Q', random.choice(lengths)) + stored[8:]


def huge_header(stored: bytes, random: Random) -> bytes:
    """Make the header huge: deeply nested, with many names, or with one long text."""
    header, start = header_of(stored)
    name = random.choice(['nested', 'many', 'long'])
    if name == 'many':
        empty = {'dtype': 'F32', 'shape': [0], 'data_offsets': [0, 0]}
        header.update({f'{i:020}': empty for i in range(50_000)})
        return with_header(stored, header)
    if name == 'long':
        header['__metadata__']['content'] = 'x' * 20_000_000
        return with_header(stored, header)
    encoded = b'{"a":' + b'[' * 20_000_000
    return struct.pack('<Q', len(encoded)) + encoded + stored[start:]


def described_otherwise(stored: bytes, random: Random) -> bytes:
    """Change the type, shape or position that the header states for a tensor."""
    header, _ = header_of(stored)
    tensor = header[random.choice(sorted(header.keys() - {'__metadata__'}))]
    begin, end = tensor['data_offsets']
    field, value = random.choice(
        [
            ('dtype', random.choice(['BF16', 'F64', 'I32', 'BOOL', 'F8_E4M3', 'F99', '', 7])),
            ('shape', random.choice([[], [2**62, 4], [-1], [0], [1.5], 'x', [2**64], None])),
            ('shape', [math.prod(tensor['shape'])] + [1] * (len(tensor['shape']) < 2)),
            ('data_offsets', random.choice([[end, begin], [0, 2**63], [begin + 1, end + 1], []])),
        ]
    )
    tensor[field] = value
    return with_header(stored, header)


DAMAGES: list[Callable[[bytes, Random], bytes]] = [
    *(flip, flip, flip, cut, longer, block_lost),
    *(swapped, header_length, huge_header, described_otherwise),
]


def _set(name: str, value: object) -> Callable[[Content, Tensors], None]:
    return lambda content, tensors: content.update({name: value})


def _set_model(name: str, value: object) -> Callable[[Content, Tensors], None]:
    return lambda content, tensors: content['model'].update({name: value})


def _fill(name: str, value: float) -> Callable[[Content, Tensors], None]:
    return lambda content, tensors: tensors.update({name: torch.full_like(tensors[name], value)})


def _cast(dtype: torch.dtype) -> Callable[[Content, Tensors], None]:
    return lambda content, tensors: tensors.update({FIRST: tensors[FIRST].to(dtype)})


FIRST = 'encoder.features.0.weight'
# Whole files with matching digests, of networks that nobody can have trained.
FORGERIES: dict[str, Callable[[Content, Tensors], None]] = {
    'a weight is nan': _fill(FIRST, math.nan),
    'a weight is inf': _fill(FIRST, math.inf),
    'weights overflow': _fill(FIRST, 3e38),
    'the variance is negative': _fill('decoder.norms.0.running_var', -1.0),
    'weights are bfloat16': _cast(torch.bfloat16),
    'weights are float64': _cast(torch.float64),
    'weights are complex': _cast(torch.complex64),
    'weights are bool': _cast(torch.bool),
    'a tensor is missing': lambda content, tensors: tensors.pop(FIRST),
    'a tensor is flat': lambda content, tensors: tensors.update({FIRST: tensors[FIRST].ravel()}),
    'a tensor has no elements': lambda content, tensors: tensors.update({FIRST: torch.zeros(0)}),
    'a tensor is unknown': lambda content, tensors: tensors.update(more=torch.zeros(3)),
    'the input is huge': _set('input_rule', {'pixels': 10**15, 'fixed_hw': None}),
    'the input is nan': _set('input_rule', {'pixels': math.nan, 'fixed_hw': None}),
    'the fixed input is huge': _set('input_rule', {'pixels': None, 'fixed_hw': [32 * 10**9, 32]}),
    'the fixed input is a text': _set('input_rule', {'pixels': None, 'fixed_hw': '32'}),
    'the fixed input is fractional': _set(
        'input_rule', {'pixels': None, 'fixed_hw': [64.0, 64.0]}
    ),
    'the fixed input has three sides': _set('input_rule', {'pixels': None, 'fixed_hw': [64] * 3}),
    'the threshold is nan': _set('threshold', math.nan),
    'the threshold is a text': _set('threshold', '0.5'),
    'the standard deviation is 0': _set_model('std', [0.0, 0.2, 0.2]),
    'the mean is infinite': _set_model('mean', [math.inf, 0.2, 0.2]),
    'the mean is short': _set_model('mean', [0.4]),
    'the width is unknown': _set_model('width', 1e9),
    'the skip scale overflows': _set_model('skip_scales', [1e300, 1e300]),
    'there are too few caps': _set_model('activation_caps', [1.0] * 12),
    'a cap is nan': _set_model('activation_caps', [math.nan] * 13),
    'a cap is negative': _set_model('activation_caps', [-1.0] * 13),
    'a cap is beyond float64': _set_model('activation_caps', [10**400] * 13),
    'a cap is a text': _set_model('activation_caps', ['high'] * 13),
    'the encoder is a path': _set_model('encoder', '../../etc/passwd'),
    'an option is unknown': _set_model('__class__', 'os.system'),
    'a peak is beyond float64': _set('activation_peaks', [10**400] * 13),
    'the peaks are a text': _set('activation_peaks', 'none'),
    'the licence is a list': _set('licence', ['a']),
    'the metrics are a text': _set('metrics', 'good'),
}


def forge(path: Path, change: Callable[[Content, Tensors], object], source: Path) -> None:
    """Write a changed copy of a checkpoint, with digests that match the changed content."""
    with safe_open(source, framework='pt') as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = json.loads(metadata['content'])
    change(content, tensors)
    metadata['content'] = json.dumps(content)
    metadata['content_sha256'] = sha256_of_content(metadata['content'])
    if all(tensor.dtype != torch.bfloat16 for tensor in tensors.values()):
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        metadata['sha256'] = sha256_of_arrays(arrays)
    save_file(tensors, path, metadata=metadata)
