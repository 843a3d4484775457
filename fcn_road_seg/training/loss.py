"""The training losses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fcn_road_seg.datasets.labels import VOID


def road_loss(logit: Tensor, labels: Tensor, dice: bool, smoothing: float = 0.0) -> Tensor:
    """Return binary cross-entropy on p(road), plus the Dice loss if `dice`; void is ignored.

    `logit`, that of p(road), and `labels`, uint8 of BACKGROUND, ROAD, VOID, have the same shape.
    `smoothing`, in [0, 1), moves the labels of the cross-entropy towards 1/2 (Szegedy et al.
    2016), so that p(road) expresses confidence instead of being close to 0 or 1. Dice is that of
    Milletari et al. 2016 (V-Net), with all pixels pooled, so that a crop without road is no
    special case.
    """
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


def distillation_loss(logit: Tensor, p_road: Tensor) -> Tensor:
    """Return the cross-entropy with a teacher's p(road), over all pixels.

    `logit`, that of p(road), and `p_road`, float32 in [0, 1], have the same shape. A teacher's
    p(road) says more than a label: how sure it is, and what it takes void pixels for (Hinton,
    Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network). Their temperature is left
    at 1: a higher one softens overconfident teachers, but label smoothing has kept ours from
    being overconfident.
    """
    return functional.binary_cross_entropy_with_logits(logit, p_road)
