"""Changes the scale of activations and of the logit by rewriting weights, at no cost."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fcn_road_seg.model.road_fcn import RoadFCN


def rescale_norms(model: RoadFCN) -> RoadFCN:
    """Return a copy in which the mean variance before each of the decoder's batch norms is 1.

    The scale of weights before a batch norm has no effect, so training lets it grow: a variance
    of 104,986 was seen, which float16 cannot store. Each transposed convolution and its skip are
    divided by a factor, and so are the norm's statistics; the scores stay the same, apart from
    rounding.
    """
    rescaled = copy.deepcopy(model)
    decoder = rescaled.decoder
    for i, (deconv, norm) in enumerate(zip(decoder.deconvs, decoder.norms, strict=True)):
        assert isinstance(norm, nn.BatchNorm2d)
        scale = norm.get_buffer('running_var').mean().sqrt()
        if scale > 0:
            layers = [deconv, *decoder.skips[i : i + 1]]
            _divide(layers, norm, scale)
    return rescaled


@torch.no_grad()
def _divide(layers: Iterable[nn.Module], norm: nn.BatchNorm2d, scale: Tensor) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            parameter.div_(scale)
    mean, variance = norm.get_buffer('running_mean'), norm.get_buffer('running_var')
    mean.div_(scale)
    # The norm adds eps to the variance, and eps itself is not scaled.
    variance.copy_(((variance + norm.eps) / scale**2 - norm.eps).clamp(min=0))


@torch.no_grad()
def rescale_logit(model: RoadFCN, scale: float, bias: float) -> RoadFCN:
    """Return a copy whose logit of p(road) is `scale` * logit + `bias`, at no cost.

    The scores are maxima over the channels of the last batch norm, whose weights absorb both.

    Raises:
        ValueError: `scale` is not positive; the maxima would become minima.
    """
    if not scale > 0:
        raise ValueError(f'scale {scale} of the logit is not positive')
    rescaled = copy.deepcopy(model)
    norm = rescaled.decoder.norms[-1]
    for parameter in norm.parameters():
        parameter.mul_(scale)
    road = norm.get_parameter('bias')[len(norm.get_parameter('bias')) // 2 :]
    road.add_(bias)
    return rescaled
