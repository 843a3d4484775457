"""The checkpoint file: a network and everything needed to run it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from fcn_road_seg import __version__
from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import OUTPUT_STRIDE, RoadFCN
from fcn_road_seg.utils.atomic_write import atomic_write

FORMAT = 'fcn_road_seg'
FORMAT_VERSION = 1
CLASS_NAMES = ('background', 'road')
# int64 is for batch norm's counters of batches.
DTYPES = (torch.float32, torch.float16, torch.int64)
# Four times the size of the widest network. A larger file is not read, whatever its header says.
MAX_FILE_BYTES = 1 << 30
MAX_TENSORS = 1000


class CheckpointError(ValueError):
    """A checkpoint file is missing, damaged, of another format or of another format version."""


@dataclass(frozen=True)
class Provenance:
    """Where a checkpoint comes from.

    `training_data` and `licence` (of these data) are free text, `metrics` are figures as
    {data set: {measure: value}}.
    """

    training_data: str = 'none (random weights)'
    licence: str = 'unknown'
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode with everything needed to run it.

    Attributes:
        model: the network.
        input_rule: gives the network's input size for a frame.
        threshold: lowest p(road), in (0, 1), that counts as road.
        provenance: training data, their licence, and metrics.
        package_version: version of this package that wrote the file.
        sha256: hash of the tensors' names, types, shapes and bytes as stored; '' before that.
        activation_peaks: largest activation after each convolution of the encoder, in the
            layers' order, which int8 needs; None if they were not measured.
        agreements: how far the masks of each precision that was measured agree with float32's.

    Raises:
        ValueError: the threshold is out of range, or the peaks do not fit the network.
    """

    model: RoadFCN
    input_rule: InputRule
    threshold: float = 0.5
    provenance: Provenance = field(default_factory=Provenance)
    package_version: str = __version__
    sha256: str = ''
    activation_peaks: tuple[float, ...] | None = None
    agreements: dict[str, Agreement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f'threshold {self.threshold} is not between 0 and 1')
        if self.activation_peaks is not None:
            _check_peaks(self.activation_peaks, self.model)


def _check_peaks(peaks: tuple[float, ...], model: RoadFCN) -> None:
    count = sum(isinstance(layer, nn.Conv2d) for layer in model.encoder.features)
    if len(peaks) != count:
        raise ValueError(
            f'there are {len(peaks)} activation peaks, not {count}: one per convolution'
        )
    for peak in peaks:
        # NaN must fail, too.
        if not 0 < peak < math.inf:
            raise ValueError(f'activation peak {peak} is not a positive number')


def save_checkpoint(
    checkpoint: Checkpoint, path: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write `checkpoint` to a .safetensors file, its tensors in `dtype` (float32 or float16).

    Biases and norms, a thousandth of the file, stay in float32 if `dtype` would change their
    values: a batch norm's variance may be too large for float16. The file is written completely
    or not at all.

    Raises:
        OSError, SafetensorError: the file cannot be written.
    """
    tensors = {
        name: _convert(tensor, dtype).detach().cpu().contiguous()
        for name, tensor in checkpoint.model.state_dict().items()
    }
    content = {
        'model': asdict(checkpoint.model.config),
        'class_names': CLASS_NAMES,
        'input_rule': asdict(checkpoint.input_rule),
        'threshold': checkpoint.threshold,
        **asdict(checkpoint.provenance),
        'package_version': checkpoint.package_version,
        'activation_peaks': checkpoint.activation_peaks,
        'agreements': {name: asdict(found) for name, found in checkpoint.agreements.items()},
    }
    metadata = {
        'format': FORMAT,
        'format_version': str(FORMAT_VERSION),
        'sha256': _sha256_of_tensors(tensors),
        'content': json.dumps(content),
    }
    metadata['content_sha256'] = _sha256_of_content(metadata['content'])
    with atomic_write(path) as part:
        save_file(tensors, part, metadata=metadata)


def smallest_exact_dtype(model: RoadFCN) -> torch.dtype:
    """Return float16 if it represents all weights exactly (as in 16-bit files), else float32."""
    tensors = [t for t in model.state_dict().values() if t.ndim > 1]
    exact = all(torch.equal(t.half().float(), t) for t in tensors)
    return torch.float16 if exact else torch.float32


def _convert(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    converted = tensor.to(dtype)
    is_kept = tensor.ndim < 2 and not torch.equal(converted.to(tensor.dtype), tensor)
    return tensor if is_kept else converted


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint; its model is float32, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the message says in one sentence what is wrong with the file.
    """
    path = Path(path)
    metadata, tensors = read_safetensors(path)
    if metadata.get('format') != FORMAT:
        raise CheckpointError(
            f'{path} is not a checkpoint of fcn_road_seg; write one with its train command'
        )
    if metadata.get('format_version') != str(FORMAT_VERSION):
        raise CheckpointError(
            f'{path} has format version {metadata.get("format_version")}, but this package reads '
            f'{FORMAT_VERSION}; use the package version that wrote it'
        )
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f'{path} does not describe a network: {name} is {tensor.dtype}; '
                f'use one of {", ".join(map(str, DTYPES))}'
            )
    if metadata.get('sha256') != _sha256_of_tensors(tensors):
        raise CheckpointError(
            f'{path} is damaged: its tensors do not match their SHA-256; copy it again'
        )
    if metadata.get('content_sha256') != _sha256_of_content(metadata.get('content', '')):
        raise CheckpointError(
            f'{path} is damaged: its metadata do not match their SHA-256; copy it again'
        )
    try:
        return _build(metadata, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f'{path} does not describe a network: {reason}') from error


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Return the metadata and the tensors of any .safetensors file.

    Raises:
        CheckpointError: the file does not exist, is not readable, or has more than
            MAX_FILE_BYTES or MAX_TENSORS.
    """
    if not path.is_file():
        raise CheckpointError(f'{path} does not exist; give the path of a .safetensors file')
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise CheckpointError(
            f'{path} has {size} bytes, more than any network ({MAX_FILE_BYTES}); give another file'
        )
    try:
        with safe_open(path, framework='pt') as file:
            names = file.keys()
            if len(names) > MAX_TENSORS:
                raise CheckpointError(
                    f'{path} has {len(names)} tensors, more than any network ({MAX_TENSORS}); '
                    'give another file'
                )
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        if _is_pickle(path):
            raise CheckpointError(
                f'{path} is a pickle (torch.save), which is never read; convert it to safetensors'
            ) from error
        raise CheckpointError(
            f'{path} is not a readable safetensors file ({error}); copy it again'
        ) from error


def _is_pickle(path: Path) -> bool:
    """Return whether a file that is not valid safetensors begins like a file of torch.save.

    A valid safetensors file may begin with the same bytes, as the length of its header.
    """
    try:
        with path.open('rb') as file:
            return file.read(4).startswith((b'PK\x03\x04', b'\x80'))
    except OSError:
        return False


def _build(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> Checkpoint:
    content: dict[str, Any] = json.loads(metadata['content'])
    if tuple(content['class_names']) != CLASS_NAMES:
        raise ValueError(f'class names are {content["class_names"]}, not {list(CLASS_NAMES)}')
    config: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in content['model'].items()
    }
    for name in ('training_data', 'licence', 'package_version'):
        if not isinstance(content[name], str):
            raise ValueError(f'{name} is {content[name]!r}, not a text')
    if not isinstance(content['metrics'], dict):
        raise ValueError(f'metrics are {content["metrics"]!r}, not figures by data set')
    rule = content['input_rule']
    fixed_hw = rule['fixed_hw']
    # Both are missing in the files of older versions.
    peaks, agreements = content.get('activation_peaks'), content.get('agreements', {})
    model = RoadFCN(RoadFCNConfig(**config))
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if missing or unexpected:
        raise ValueError(f'tensors missing {missing}, unexpected {unexpected}')
    for name, tensor in tensors.items():
        # The network would silently find no road: NaN is below every threshold.
        if not tensor.isfinite().all():
            raise ValueError(f'{name} holds values that are not finite; train the network again')
    model = model.eval().requires_grad_(False)
    if not model.scores(torch.full((1, 3, OUTPUT_STRIDE, OUTPUT_STRIDE), 0.5)).isfinite().all():
        raise ValueError(
            'it gives scores that are not finite; train it again, with a lower --learning-rate'
        )
    return Checkpoint(
        model=model,
        input_rule=InputRule(rule['pixels'], tuple(fixed_hw) if fixed_hw else None),
        threshold=content['threshold'],
        provenance=Provenance(content['training_data'], content['licence'], content['metrics']),
        package_version=content['package_version'],
        sha256=metadata['sha256'],
        activation_peaks=None if peaks is None else tuple(map(float, peaks)),
        agreements={name: Agreement(**found) for name, found in agreements.items()},
    )


def _sha256_of_tensors(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _sha256_of_content(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
