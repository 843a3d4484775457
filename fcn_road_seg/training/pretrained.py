"""TODO: one line."""

from __future__ import annotations

import pickle

import torch
from torch import Tensor

from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.road_fcn import RoadFCN


def imagenet_encoder_state(encoder: str) -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights for `VGG16Encoder.features`; may download 500 MB.

    Raises:
        OSError: the weights are not cached and cannot be downloaded.
    """
    from torchvision.models import get_model

    return get_model(encoder, weights='IMAGENET1K_V1').features.state_dict()


def load_weights(net: RoadFCN, weights: str) -> None:
    """Load `weights` (as --weights has them) into `net`, or into its encoder alone.

    Raises:
        ValueError: they cannot be had, or are those of another network.
    """
    if weights == 'none':
        return
    try:
        if weights == 'imagenet':
            net.encoder.features.load_state_dict(imagenet_encoder_state(net.config.encoder))
        elif weights.endswith('.safetensors'):
            net.load_state_dict(load_checkpoint(weights).model.state_dict())
        else:
            state = torch.load(weights, map_location='cpu', weights_only=True)
            if 'state_dict' in state:
                net.load_state_dict(_with_prefix(state['state_dict'], 'net.'))
            else:
                net.encoder.features.load_state_dict(_with_prefix(state, 'features.'))
    except OSError as error:
        remedy = 'use --weights FILE, or --weights none --encoder vgg16_bn'
        raise ValueError(f'the weights {weights} cannot be had ({error}); {remedy}') from error
    except (AttributeError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(':')
        raise ValueError(
            f'{weights} holds no weights for this network ({reason}); see --encoder, --fcn'
        ) from error


def _with_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
