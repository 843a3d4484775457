"""The KITTI road measure, and IoU, F1 and accuracy of masks.

Fritsch, Kuehnl, Geiger: "A new performance measure and evaluation benchmark for road detection
algorithms", ITSC 2013, as the benchmark's development kit computes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID

CONFIDENCES = 256
CALIBRATION_BINS = 15


class Counts(NamedTuple):
    """Pixel counts, each int64 [256], by threshold t = 0..255; road is where confidence >= t."""

    tp: np.ndarray
    fp: np.ndarray
    tn: np.ndarray
    fn: np.ndarray


@dataclass(frozen=True)
class RoadMeasures:
    """The KITTI road measure in percent, NaN if it is undefined for the counted pixels.

    Without road pixels all are NaN, and the threshold is None; without background pixels `fpr` is
    NaN.

    Attributes:
        max_f: highest F1 over all thresholds.
        ap: average precision: the mean over recall 0, 0.1 .. 1 of the highest precision at that
            recall or more.
        pre, rec, fpr, fnr: precision, recall, false positive and false negative rate at
            `threshold`.
        threshold: lowest threshold, in 0..255, that reaches `max_f`.
    """

    max_f: float
    ap: float
    pre: float
    rec: float
    fpr: float
    fnr: float
    threshold: int | None


@dataclass(frozen=True)
class MaskMeasures:
    """IoU, F1 and accuracy of masks in [0, 1], NaN if they are undefined for the pixels."""

    iou: float
    f1: float
    accuracy: float


def _no_pixels() -> np.ndarray:
    return np.zeros(CONFIDENCES, np.int64)


@dataclass(eq=False)
class RoadHistogram:
    """Histograms of the confidences of road and of background pixels, both int64 [256].

    All measures are computed from them, so that pixels are pooled over the images of a category,
    and categories by `+`, before any ratio is taken.
    """

    road: np.ndarray = field(default_factory=_no_pixels)
    background: np.ndarray = field(default_factory=_no_pixels)

    def add(self, confidence: np.ndarray, label: np.ndarray) -> None:
        """Count an image: (H, W) uint8 confidence in road, 0..255, and (H, W) uint8 label.

        Void pixels are not counted. A mask of 0 and 255 is a valid confidence.

        Raises:
            ValueError: the type or shape is wrong, or a label is not BACKGROUND, ROAD or VOID.
        """
        check_image(confidence, 'confidence')
        check_image(label, 'label')
        if confidence.shape != label.shape:
            raise ValueError(
                f'confidence is {confidence.shape} (H, W) but its label is {label.shape}; '
                'give both at the same size'
            )
        is_road, is_background = label == ROAD, label == BACKGROUND
        unknown = label[~(is_road | is_background | (label == VOID))]
        if unknown.size:
            raise ValueError(
                f'label value {unknown[0]} is unknown; '
                f'use {BACKGROUND} (background), {ROAD} (road) and {VOID} (void)'
            )
        self.road += np.bincount(confidence[is_road], minlength=CONFIDENCES)
        self.background += np.bincount(confidence[is_background], minlength=CONFIDENCES)

    def __add__(self, other: RoadHistogram) -> RoadHistogram:
        return RoadHistogram(self.road + other.road, self.background + other.background)

    def counts(self) -> Counts:
        """Return the confusion matrix at every threshold."""
        tp, fp = _at_least(self.road), _at_least(self.background)
        return Counts(tp, fp, tn=fp[0] - fp, fn=tp[0] - tp)

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (precision, recall), each float64 [256] in [0, 1], by threshold.

        Precision is 0 if no pixel is taken for road; recall is NaN without road pixels.
        """
        tp, fp, _, fn = self.counts()
        precision, recall = np.zeros(CONFIDENCES), np.full(CONFIDENCES, np.nan)
        np.divide(tp, tp + fp, out=precision, where=tp + fp > 0)
        np.divide(tp, tp + fn, out=recall, where=tp + fn > 0)
        return precision, recall

    def measures(self) -> RoadMeasures:
        """Return the KITTI road measure of all added images."""
        tp, fp, _, fn = self.counts()
        if not tp[0]:
            nan = math.nan
            return RoadMeasures(nan, nan, nan, nan, nan, nan, threshold=None)
        f1 = 2 * tp / (2 * tp + fp + fn)
        best = int(f1.argmax())
        precision, _ = self.precision_recall()
        # In integers: as floats, 3 / 10 < 3 * 0.1.
        ceilings = [precision[10 * tp >= tenths * tp[0]].max() for tenths in range(11)]
        return RoadMeasures(
            max_f=100 * float(f1[best]),
            ap=100 * float(np.mean(ceilings)),
            pre=100 * float(precision[best]),
            rec=100 * _ratio(tp[best], tp[0]),
            fpr=100 * _ratio(fp[best], fp[0]),
            fnr=100 * _ratio(fn[best], tp[0]),
            threshold=best,
        )

    def calibration_error(self) -> float:
        """Return the expected calibration error of p(road) in [0, 1], NaN without pixels.

        Guo et al. 2017 ("On calibration of modern neural networks"): each pixel falls into one of
        15 bins of equal width; this is the mean over all pixels of the difference between their
        bin's share of road and its mean p(road).
        """
        bins = np.arange(CONFIDENCES) * CALIBRATION_BINS // CONFIDENCES
        count = self.road + self.background
        p_road = np.arange(CONFIDENCES) / (CONFIDENCES - 1)
        surplus = np.bincount(bins, weights=count * p_road - self.road)
        return _ratio(np.abs(surplus).sum(), count.sum())

    def mask_measures(self, threshold: int) -> MaskMeasures:
        """Return the measures of the masks `confidence >= threshold`, threshold in 0..255.

        Raises:
            ValueError: the threshold is not one of 0..255.
        """
        if threshold not in range(CONFIDENCES):
            raise ValueError(
                f'threshold {threshold} is not one of 0..255; multiply a probability by 255 '
                'and round it'
            )
        tp, fp, tn, fn = (count[threshold] for count in self.counts())
        return MaskMeasures(
            iou=_ratio(tp, tp + fp + fn),
            f1=_ratio(2 * tp, 2 * tp + fp + fn),
            accuracy=_ratio(tp + tn, tp + fp + tn + fn),
        )


def _at_least(histogram: np.ndarray) -> np.ndarray:
    return histogram[::-1].cumsum()[::-1]


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def check_image(image: np.ndarray, name: str) -> None:
    """Raise ValueError unless `image`, called `name` in the message, is (H, W) uint8."""
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(
            f'{name} must be (H, W) uint8, but is {image.shape} {image.dtype}; convert it'
        )
