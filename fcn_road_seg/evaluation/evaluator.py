"""segment, compare, count"""

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
from fcn_road_seg.evaluation.metrics import RoadHistogram
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.viz.contact_sheet import draw_errors

WORST_COUNT = 12
# A mask is a confidence of 0 and 255; any threshold between them tells the two apart.
MASK_THRESHOLD = 128


@dataclass(frozen=True)
class Example:
    """A labelled frame, and what its data set knows of it besides.

    `frame_rgb` is (H, W, 3) uint8, `label` (H, W) uint8; `class_index` (H, W) uint8 numbers
    `classes`; `road_to_image` is the (3, 3) homography of a calibrated frame.
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
    """All counts over one data set; every ratio is taken from them at the end.

    The histograms are of confidences by category, in the image and in bird's-eye view, of masks
    at the checkpoint's threshold, and of masks under each stress. `by_class` has the pixels and
    the pixels wrongly taken for road of each class that is not road; `worst` the frames of least
    IoU with a picture, worst first.
    """

    frames: int = 0
    perspective: dict[str, RoadHistogram] = field(default_factory=dict)
    birds_eye: dict[str, RoadHistogram] = field(default_factory=dict)
    masks: RoadHistogram = field(default_factory=RoadHistogram)
    stressed: dict[str, RoadHistogram] = field(default_factory=dict)
    by_class: dict[str, np.ndarray] = field(default_factory=dict)
    worst: list[tuple[float, str, np.ndarray]] = field(default_factory=list)

    def add(self, example: Example, mask: np.ndarray, confidence: np.ndarray) -> None:
        """Count one frame's (H, W) uint8 mask (0 or 255) and confidence."""
        self.frames += 1
        _at(self.perspective, example.category).add(confidence, example.label)
        if example.road_to_image is not None:
            view, seen = BirdsEyeView(), example.road_to_image
            _at(self.birds_eye, example.category).add(
                view.project(confidence, seen, outside=0),
                view.project(example.label, seen, outside=VOID),
            )
        alone = RoadHistogram()
        alone.add(mask, example.label)
        self.masks += alone
        self._add_classes(example, mask)
        self._add_worst(example, mask, alone.mask_measures(MASK_THRESHOLD).iou)

    def add_stressed(self, stress: str, example: Example, mask: np.ndarray) -> None:
        """Count the mask that the frame gave under one of `CORRUPTIONS`."""
        _at(self.stressed, stress).add(mask, example.label)

    def _add_classes(self, example: Example, mask: np.ndarray) -> None:
        if example.class_index is None:
            return
        for index, name in enumerate(example.classes):
            of_class = (example.class_index == index) & (example.label != VOID)
            if (example.label[of_class] != ROAD).all():
                counts = self.by_class.setdefault(name, np.zeros(2, np.int64))
                counts += [np.count_nonzero(of_class), np.count_nonzero(mask[of_class])]

    def _add_worst(self, example: Example, mask: np.ndarray, iou: float) -> None:
        # Neither road nor found road: nothing to compare.
        if math.isnan(iou) or (len(self.worst) == WORST_COUNT and iou >= self.worst[-1][0]):
            return
        picture = draw_errors(example.frame_rgb, mask > 0, example.label)
        bisect.insort(self.worst, (iou, example.name, picture), key=lambda entry: entry[:2])
        del self.worst[WORST_COUNT:]

    def report(self) -> dict[str, Any]:
        """Return all figures, ready for JSON: fractions in [0, 1], the KITTI measure in percent.

        What the pixels do not define is None.
        """
        masks = asdict(self.masks.mask_measures(MASK_THRESHOLD))
        report: dict[str, Any] = {'frames': self.frames, **masks}
        for view, histograms in self.views():
            report[view] = {name: asdict(h.measures()) for name, h in histograms.items()}
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

    def views(self) -> Iterator[tuple[str, dict[str, RoadHistogram]]]:
        """Yield each view's name and histograms: of its categories, and of all pooled."""
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
    """Segment every example, under each of `CORRUPTIONS` too if asked, and count."""
    tally = Evaluation()
    for number, example in enumerate(examples):
        found = segmenter(example.frame_rgb, channel_order='rgb')
        assert found.confidence is not None
        tally.add(example, found.mask, found.confidence)
        for name, harden in CORRUPTIONS.items() if stress else ():
            hardened = harden(example.frame_rgb, number)
            mask = segmenter(hardened, channel_order='rgb', confidence=False).mask
            tally.add_stressed(name, example, mask)
    return tally


def examples_of(frames: Sequence[LabelledFrame], text: str) -> Iterator[Example]:
    """Read `frames` one by one, with a progress bar named `text`.

    Raises:
        DatasetError, CalibrationError: a file is not as it should be; the message names it.
    """
    for frame in tqdm(frames, desc=text, unit='frame', leave=False):
        frame_rgb, label = frame.load()
        calibration = frame.calibration_path
        yield Example(
            name=frame.name,
            frame_rgb=frame_rgb,
            label=label,
            category=frame.category,
            classes=frame.classes,
            class_index=frame.load_raw_label() if frame.classes else None,
            road_to_image=read_road_to_image(calibration) if calibration else None,
        )


def rendered_examples(count: int) -> Iterator[Example]:
    """Render `count` frames that no training has seen."""
    for number, sample in enumerate(rendered_frames(count, RENDERED_VAL_SEED, 'rendered')):
        yield Example(f'rendered_{number:06}', *sample)
