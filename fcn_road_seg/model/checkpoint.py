"""Checkpoints that hold a PyTorch network, for training, conversion and writing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from fcn_road_seg.model.checkpoint_file import (
    CLASS_NAMES,
    FORMAT,
    FORMAT_VERSION,
    CheckpointError,
    CheckpointOf,
    read_checkpoint,
    sha256_of_arrays,
    sha256_of_content,
)
from fcn_road_seg.model.network_config import OUTPUT_STRIDE
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.utils.atomic_write import atomic_write

# A checkpoint whose model is a PyTorch module, in evaluation mode.
Checkpoint = CheckpointOf[RoadFCN]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint; its model is float32, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the message says in one sentence what is wrong with the file.
    """
    checkpoint = read_checkpoint(path)
    model = RoadFCN.from_weights(checkpoint.model)
    grey = model.mean.new_full((1, 3, OUTPUT_STRIDE, OUTPUT_STRIDE), 0.5)
    if not model.scores(grey).isfinite().all():
        raise CheckpointError(
            f'{path} does not describe a network: it gives scores that are not finite; '
            'train it again, with a lower --learning-rate'
        )
    return checkpoint.with_model(model)


def save_checkpoint(
    checkpoint: Checkpoint, path: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write `checkpoint` to a .safetensors file, its tensors in `dtype` (float32 or float16).

    Biases and norms, a thousandth of the file, stay in float32 if `dtype` would change their
    values: a batch norm's variance may be too large for float16. The file is written completely
    or not at all.

    Raises:
        OSError: the file cannot be written.
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
        'sha256': sha256_of_arrays({name: tensor.numpy() for name, tensor in tensors.items()}),
        'content': json.dumps(content),
    }
    metadata['content_sha256'] = sha256_of_content(metadata['content'])
    with atomic_write(path) as part:
        try:
            save_file(tensors, part, metadata=metadata)
        except SafetensorError as error:
            # Such as a full disk: the commands report it as they do that of other files.
            raise OSError(f'{path} cannot be written ({error})') from error


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
