"""The checkpoint file: a network, as arrays, and everything needed to run it.

It is read without PyTorch, which takes more than a second to import.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from fcn_road_seg import __version__
from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import CONVOLUTIONS, RoadFCNConfig
from fcn_road_seg.model.network_weights import NetworkWeights

FORMAT = 'fcn_road_seg'
FORMAT_VERSION = 1
CLASS_NAMES = ('background', 'road')
# As safetensors names them. I64 is for batch norm's batch counters.
DTYPES = ('F32', 'F16', 'I64')
# Four times the size of the widest network. A larger file is not read, whatever its header says.
MAX_FILE_BYTES = 1 << 30
MAX_TENSORS = 1000
# What content of any types and values can raise. JSON limits neither integers (OverflowError) nor
# nesting (RecursionError).
_ERRORS_OF_CONTENT = (
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


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


Model = TypeVar('Model')
Other = TypeVar('Other')


@dataclass(frozen=True)
class CheckpointOf(Generic[Model]):
    """A network with everything needed to run it.

    Attributes:
        model: the network, as `NetworkWeights` or as a `RoadFCN` in evaluation mode.
        input_rule: gives the network's input size for a frame.
        threshold: lowest p(road), in (0, 1), that counts as road.
        provenance: training data, their licence, and metrics.
        package_version: version of this package that wrote the file.
        sha256: hash of the tensors' names, types, shapes and bytes as stored; '' if not stored.
        activation_peaks: largest activation after each convolution of the encoder, in the
            layers' order, which int8 needs; None if they were not measured.
        agreements: how well the masks of each measured precision agree with float32's.

    Raises:
        ValueError: the threshold is out of range, or the peaks do not fit the network.
    """

    model: Model
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
            _check_peaks(self.activation_peaks)

    def with_model(self, model: Other) -> CheckpointOf[Other]:
        """Return a copy with this network, in either form."""
        others = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return CheckpointOf(**{**others, 'model': model})


StoredCheckpoint = CheckpointOf[NetworkWeights]


def _check_peaks(peaks: tuple[float, ...]) -> None:
    if len(peaks) != CONVOLUTIONS:
        raise ValueError(
            f'there are {len(peaks)} activation peaks, not {CONVOLUTIONS}: one per convolution'
        )
    for peak in peaks:
        # NaN must fail, too.
        if not 0 < peak < math.inf:
            raise ValueError(f'activation peak {peak} is not a positive number')


def read_checkpoint(path: str | Path) -> StoredCheckpoint:
    """Read and check a checkpoint; its arrays are float32.

    Raises:
        CheckpointError: the message says in one sentence what is wrong with the file.
    """
    path = Path(path)
    with open_safetensors(path) as file:
        return _read(path, file)


def _read(path: Path, file: Any) -> StoredCheckpoint:
    metadata: dict[str, str] = file.metadata() or {}
    if metadata.get('format') != FORMAT:
        raise CheckpointError(
            f'{path} is not a checkpoint of fcn_road_seg; write one with its train command'
        )
    if metadata.get('format_version') != str(FORMAT_VERSION):
        raise CheckpointError(
            f'{path} has format version {metadata.get("format_version")}, but this package reads '
            f'{FORMAT_VERSION}; use the package version that wrote it'
        )
    names = file.keys()
    for name in names:
        if (dtype := file.get_slice(name).get_dtype()) not in DTYPES:
            raise CheckpointError(
                f'{path} does not describe a network: {name} is {dtype}; '
                f'use one of {", ".join(DTYPES)}'
            )
    arrays = {name: file.get_tensor(name) for name in names}
    if metadata.get('sha256') != sha256_of_arrays(arrays):
        raise CheckpointError(
            f'{path} is damaged: its tensors do not match their SHA-256; copy it again'
        )
    if metadata.get('content_sha256') != sha256_of_content(metadata.get('content', '')):
        raise CheckpointError(
            f'{path} is damaged: its metadata do not match their SHA-256; copy it again'
        )
    try:
        return _build(metadata, arrays)
    except _ERRORS_OF_CONTENT as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f'{path} does not describe a network: {reason}') from error


@contextmanager
def open_safetensors(path: Path, framework: str = 'np') -> Iterator[Any]:
    """Open any .safetensors file; its tensors are read as those of `framework`, np or pt.

    Raises:
        CheckpointError: the file does not exist, is not readable, or has more than
            MAX_FILE_BYTES bytes or MAX_TENSORS tensors.
    """
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder; give the path of a .safetensors file')
    if not path.is_file():
        raise CheckpointError(f'{path} does not exist; give the path of a .safetensors file')
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise CheckpointError(
            f'{path} has {size} bytes, more than any network ({MAX_FILE_BYTES}); give another file'
        )
    try:
        with safe_open(path, framework=framework) as file:
            if (count := len(file.keys())) > MAX_TENSORS:
                raise CheckpointError(
                    f'{path} has {count} tensors, more than any network ({MAX_TENSORS}); '
                    'give another file'
                )
            yield file
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


def _build(metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> StoredCheckpoint:
    content: dict[str, Any] = json.loads(metadata['content'])
    if tuple(content['class_names']) != CLASS_NAMES:
        raise ValueError(f'class names are {content["class_names"]}, not {list(CLASS_NAMES)}')
    config: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in content['model'].items()
    }
    for name in ('training_data', 'licence', 'package_version'):
        if not isinstance(content[name], str):
            raise ValueError(f'{name} is {content[name]!r}, not a string')
    if not isinstance(content['metrics'], dict):
        raise ValueError(f'metrics are {content["metrics"]!r}, not a dictionary of data sets')
    rule = content['input_rule']
    fixed_hw = rule['fixed_hw']
    # Both are missing in the files of older versions.
    peaks, agreements = content.get('activation_peaks'), content.get('agreements', {})
    in_float32 = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in arrays.items()
    }
    model = NetworkWeights(RoadFCNConfig(**config), in_float32)
    model.check()
    return StoredCheckpoint(
        model=model,
        input_rule=InputRule(rule['pixels'], tuple(fixed_hw) if fixed_hw else None),
        threshold=content['threshold'],
        provenance=Provenance(content['training_data'], content['licence'], content['metrics']),
        package_version=content['package_version'],
        sha256=metadata['sha256'],
        activation_peaks=None if peaks is None else tuple(map(float, peaks)),
        agreements={name: Agreement(**found) for name, found in agreements.items()},
    )


def sha256_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the hash of arrays as they are stored: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        # The type's name is PyTorch's, as in the files that were written with it.
        digest.update(f'{name} torch.{array.dtype} {array.shape}\n'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def sha256_of_content(content: str) -> str:
    """Return the hash of `content`, the JSON text in a file's metadata."""
    return hashlib.sha256(content.encode()).hexdigest()
