"""Segment labelled frames and count how masks and p(road) compare with the labels."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from tqdm import tqdm

from fcn_road_seg.datasets.frames import LabelledFrame
from fcn_road_seg.datasets.kitti_calibration import read_road_to_image
from fcn_road_seg.datasets.labels import ROAD, VOID
from fcn_road_seg.datasets.rendered import RENDERED_VAL_SEED, rendered_frames
from fcn_road_seg.evaluation.birds_eye_view import BirdsEyeView
from fcn_road_seg.evaluation.corruptions import CORRUPTIONS
from fcn_road_seg.evaluation.metrics import CONFIDENCES, RoadHistogram
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.viz.contact_sheet import draw_errors

WORST_COUNT = 12
# A mask counts as a p(road) of 0 and 255; any threshold between them separates the two.
MASK_THRESHOLD = 128


@dataclass(frozen=True)
class Example:
    """A labelled frame, with everything else that its data set says about it.

    Attributes:
        name: the frame's file or, if it was rendered, its number.
        frame_rgb: (H, W, 3) uint8.
        label: (H, W) uint8 of BACKGROUND, ROAD, VOID.
        category: um, umm or uu in KITTI road.
        classes: names of the data set's classes.
        class_index: (H, W) uint8, each pixel's index in `classes`.
        road_to_image: (3, 3) homography of a calibrated frame.
    """

    name: str
    frame_rgb: np.ndarray
    label: np.ndarray
    category: str = ''
    classes: tuple[str, ...] = ()
    class_index: np.ndarray | None = None
    road_to_image: np.ndarray | None = None


@dataclass
class Evaluation:
    """All counts over one data set, from which `report` computes the ratios.

    Attributes:
        frames: number of frames.
        perspective, birds_eye: histograms of p(road) by category, in each view.
        masks: histogram of the masks at the segmenter's threshold.
        stressed: histograms of the masks by name of corruption.
        by_class: for each class that is not road, int64 [2]: its pixels, and those of them that
            were taken for road.
        worst: (IoU, name, BGR picture) of the frames with the lowest IoU, worst first.
    """

    frames: int = 0
    perspective: dict[str, RoadHistogram] = field(default_factory=dict)
    birds_eye: dict[str, RoadHistogram] = field(default_factory=dict)
    masks: RoadHistogram = field(default_factory=RoadHistogram)
    stressed: dict[str, RoadHistogram] = field(default_factory=dict)
    by_class: dict[str, np.ndarray] = field(default_factory=dict)
    worst: list[tuple[float, str, np.ndarray]] = field(default_factory=list)

    def add(self, example: Example, mask: np.ndarray, road_probability: np.ndarray) -> None:
        """Count one frame.

        `mask` is (H, W) uint8 of 0 and 255, `road_probability` is (H, W) uint8, 255 * p(road).
        """
        self.frames += 1
        _at(self.perspective, example.category).add(road_probability, example.label)
        if example.road_to_image is not None:
            view, homography = BirdsEyeView(), example.road_to_image
            _at(self.birds_eye, example.category).add(
                view.project(road_probability, homography, outside=0),
                view.project(example.label, homography, outside=VOID),
            )
        of_frame = RoadHistogram()
        of_frame.add(mask, example.label)
        self.masks += of_frame
        self._add_classes(example, mask)
        self._add_worst(example, mask, of_frame.mask_measures(MASK_THRESHOLD).iou)

    def add_stressed(self, corruption: str, example: Example, mask: np.ndarray) -> None:
        """Count the frame's mask, (H, W) uint8 of 0 and 255, under one of `CORRUPTIONS`."""
        _at(self.stressed, corruption).add(mask, example.label)

    def _add_classes(self, example: Example, mask: np.ndarray) -> None:
        if example.class_index is None:
            return
        for index, name in enumerate(example.classes):
            of_class = (example.class_index == index) & (example.label != VOID)
            if (example.label[of_class] != ROAD).all():
                counts = self.by_class.setdefault(name, np.zeros(2, np.int64))
                counts += [np.count_nonzero(of_class), np.count_nonzero(mask[of_class])]

    def _add_worst(self, example: Example, mask: np.ndarray, iou: float) -> None:
        # IoU is undefined if there is neither road nor mask.
        if math.isnan(iou) or (len(self.worst) == WORST_COUNT and iou >= self.worst[-1][0]):
            return
        picture = draw_errors(example.frame_rgb, mask > 0, example.label)
        bisect.insort(self.worst, (iou, example.name, picture), key=lambda entry: entry[:2])
        del self.worst[WORST_COUNT:]

    def report(self) -> dict[str, Any]:
        """Return all figures, ready for JSON: fractions in [0, 1], the KITTI measure in percent.

        Undefined figures are None.
        """
        masks = asdict(self.masks.mask_measures(MASK_THRESHOLD))
        report: dict[str, Any] = {'frames': self.frames, **masks}
        for view, histograms in self.views():
            report[view] = {name: asdict(h.measures()) for name, h in histograms.items()}
        report['probability'] = self._probability_figures()
        if self.by_class:
            report['false_positive_rate_by_class'] = {
                name: wrong / count for name, (count, wrong) in self.by_class.items() if count
            }
        if self.stressed:
            ious = {k: h.mask_measures(MASK_THRESHOLD).iou for k, h in self.stressed.items()}
            report['stress'] = {
                name: {'iou': iou, 'change': iou - masks['iou']} for name, iou in ious.items()
            }
        report['worst'] = [{'frame': name, 'iou': iou} for iou, name, _ in self.worst]
        return _rounded(report)

    def _probability_figures(self) -> dict[str, float]:
        pooled = self.pooled()
        # The threshold with the highest F1 has the highest IoU: one grows with the other.
        best = pooled.measures().threshold
        return {
            'calibration_error': pooled.calibration_error(),
            'best_threshold': math.nan if best is None else best / (CONFIDENCES - 1),
            'best_iou': math.nan if best is None else pooled.mask_measures(best).iou,
        }

    def pooled(self) -> RoadHistogram:
        """Return the histogram of p(road) in the images of all categories."""
        return reduce(add, self.perspective.values(), RoadHistogram())

    def views(self) -> Iterator[tuple[str, dict[str, RoadHistogram]]]:
        """Yield each view's name and histograms: one for each category, and all of them pooled."""
        for view, by_category in (
            ('perspective', self.perspective),
            ('birds_eye_view', self.birds_eye),
        ):
            if by_category:
                named = {name: by_category[name] for name in sorted(by_category) if name}
                yield view, {**named, 'pooled': reduce(add, by_category.values())}


def _at(histograms: dict[str, RoadHistogram], name: str) -> RoadHistogram:
    return histograms.setdefault(name, RoadHistogram())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def measure(segmenter: RoadSegmenter, examples: Iterable[Example], *, stress: bool) -> Evaluation:
    """Return the counts over all examples, with `stress` also under each of `CORRUPTIONS`."""
    evaluation = Evaluation()
    for number, example in enumerate(examples):
        segmentation = segmenter(
            example.frame_rgb, channel_order='rgb', road_probability=True, confidence=False
        )
        assert segmentation.road_probability is not None
        evaluation.add(example, segmentation.mask, segmentation.road_probability)
        for name, corrupt in CORRUPTIONS.items() if stress else ():
            corrupted_rgb = corrupt(example.frame_rgb, number)
            mask = segmenter(corrupted_rgb, channel_order='rgb', confidence=False).mask
            evaluation.add_stressed(name, example, mask)
    return evaluation


def load_examples(frames: Sequence[LabelledFrame], text: str) -> Iterator[Example]:
    """Read `frames` one by one, with a progress bar labelled `text`.

    Raises:
        DatasetError, CalibrationError: a file is missing or invalid; the message names it.
    """
    for frame in tqdm(frames, desc=text, unit='frame', leave=False):
        frame_rgb, label = frame.load()
        calibration = frame.calibration_path
        yield Example(
            name=str(frame.frame_path),
            frame_rgb=frame_rgb,
            label=label,
            category=frame.category,
            classes=frame.classes,
            class_index=frame.load_raw_label() if frame.classes else None,
            road_to_image=read_road_to_image(calibration) if calibration else None,
        )


def render_examples(count: int) -> Iterator[Example]:
    """Render `count` frames with seeds that no training uses."""
    for number, sample in enumerate(rendered_frames(count, RENDERED_VAL_SEED, 'rendered')):
        yield Example(f'rendered_{number:06}', *sample)
