"""Calibrates p(road): fits scale and bias of its logit to labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from fcn_road_seg.evaluation.metrics import CONFIDENCES, RoadHistogram


def fit_logit(histograms: Sequence[RoadHistogram]) -> tuple[float, float]:
    """Return (scale > 0, bias) for the logit of p(road), fitted to the pixels of all histograms.

    They minimise the cross-entropy of p(road) = sigmoid(scale * logit + bias) (Platt 1999; with
    the scale alone it is the temperature scaling of Guo et al. 2017). Each histogram counts as
    one data set and weighs as much as any other, however many pixels it has. (1, 0) changes
    nothing.

    Raises:
        ValueError: a histogram lacks road or background pixels.
    """
    for histogram in histograms:
        if not (histogram.road.any() and histogram.background.any()):
            raise ValueError(
                'p(road) cannot be fitted to frames that contain only road or only background; '
                'give frames with both'
            )
    # The values at both ends stand for every p(road) within half a step of 0 or 1.
    p_road = np.arange(CONFIDENCES).clip(0.25, CONFIDENCES - 1.25) / (CONFIDENCES - 1)
    logit = torch.from_numpy(np.log(p_road / (1 - p_road)))
    road, background = (
        torch.from_numpy(sum(getattr(h, name) / (h.road + h.background).sum() for h in histograms))
        for name in ('road', 'background')
    )
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, bias], max_iter=100, line_search_fn='strong_wolfe')

    def cross_entropy() -> torch.Tensor:
        optimizer.zero_grad()
        fitted = log_scale.exp() * logit + bias
        loss = (
            road * functional.softplus(-fitted) + background * functional.softplus(fitted)
        ).sum()
        loss.backward()
        return loss

    optimizer.step(cross_entropy)
    return log_scale.exp().item(), bias.item()
