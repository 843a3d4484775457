"""TODO: one line."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fcn_road_seg.datasets.labels import VOID
from fcn_road_seg.model.road_fcn import road_logit


def road_loss(scores: Tensor, labels: Tensor, dice: bool, smoothing: float = 0.0) -> Tensor:
    """Return binary cross-entropy on p(road), plus Dice loss; void pixels count in neither.

    `scores` are [N, 2, H, W], `labels` [N, H, W] uint8. `smoothing`, in [0, 1), moves the labels
    of the cross-entropy towards 1/2 (Szegedy et al. 2016), so that p(road) says how sure it is
    instead of 0 or 1. Dice as in Milletari et al. 2016 (V-Net), with the batch pooled, so that a
    crop without road is no special case.
    """
    logit = road_logit(scores)
    valid = labels != VOID
    logit, road = logit[valid], labels[valid].float()
    if not len(road):
        return logit.sum()
    smoothed = road * (1 - smoothing) + smoothing / 2
    cross_entropy = functional.binary_cross_entropy_with_logits(logit, smoothed)
    if not dice:
        return cross_entropy
    p_road = logit.sigmoid()
    return cross_entropy + (1 - (2 * (p_road * road).sum() + 1) / (p_road.sum() + road.sum() + 1))
