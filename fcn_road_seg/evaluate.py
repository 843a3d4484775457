"""Measure a checkpoint on labelled frames, through the segmenter that the node runs."""

from __future__ import annotations

import argparse
import bisect
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from fcn_road_seg.calibration import read_road_to_image
from fcn_road_seg.checkpoint import default_checkpoint_path
from fcn_road_seg.datasets import (
    ROAD,
    SPLITS,
    VOID,
    DatasetError,
    LabelledFrame,
    find_frames,
    find_test_frames,
)
from fcn_road_seg.files import written_whole
from fcn_road_seg.metrics import BirdsEyeView, RoadHistogram
from fcn_road_seg.pictures import compared, sheet
from fcn_road_seg.segmenter import RoadSegmenter
from fcn_road_seg.sources import (
    RENDERED_VAL_SEED,
    add_split_arguments,
    rendered_frames,
    split_rule,
)
from fcn_road_seg.stress import STRESSES

try:
    from fcn_road_seg.plots import plot_precision_recall
except ImportError as missing:
    raise SystemExit(f'evaluate: {missing}; pip install matplotlib') from missing

WORST_COUNT = 12
SUBMISSION_NAME = 'road_submission.zip'
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
class Tally:
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
        """Count the mask that the frame gave under one of `STRESSES`."""
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
        picture = compared(example.frame_rgb, mask > 0, example.label)
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


def measure(segmenter: RoadSegmenter, examples: Iterable[Example], *, stress: bool) -> Tally:
    """Segment every example, under each of `STRESSES` too if asked, and count."""
    tally = Tally()
    for number, example in enumerate(examples):
        found = segmenter(example.frame_rgb, channel_order='rgb')
        assert found.confidence is not None
        tally.add(example, found.mask, found.confidence)
        for name, harden in STRESSES.items() if stress else ():
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


def write_submission(segmenter: RoadSegmenter, root: Path, folder: Path) -> Path:
    """Write the zip that the KITTI road server takes for the test set in `root`; return its path.

    It holds `um_road_000000.png` and so on: each test frame's confidence in road, 0..255, in
    bird's-eye view.

    Raises:
        DatasetError, CalibrationError: a file is missing or not as it should be.
    """
    path = folder / SUBMISSION_NAME
    folder.mkdir(parents=True, exist_ok=True)
    view = BirdsEyeView()
    with written_whole(path) as part, zipfile.ZipFile(part, 'w', zipfile.ZIP_STORED) as archive:
        for frame in tqdm(find_test_frames(root), desc='submission', unit='frame'):
            seen = read_road_to_image(frame.calibration_path)
            confidence = segmenter(frame.load(), channel_order='rgb').confidence
            assert confidence is not None
            _, png = cv2.imencode('.png', view.project(confidence, seen, outside=0))
            archive.writestr(frame.submission_name, png.tobytes())
    return path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='evaluate',
        description='Measure a checkpoint on labelled frames: the KITTI road measure, IoU, F1 and '
        'accuracy, a plot of precision and recall, and the worst frames.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--data',
        nargs='+',
        default=[],
        type=Path,
        metavar='DIR',
        help='KITTI road, CamVid, IDD Lite or images + masks folders',
    )
    parser.add_argument('--split', choices=SPLITS, default='val')
    add_split_arguments(parser)
    parser.add_argument(
        '--rendered', type=int, default=0, metavar='COUNT', help='also COUNT unseen scenes'
    )
    parser.add_argument(
        '--stress',
        action='store_true',
        help='also measure under cast shadows, other light and blur (five times as long)',
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument(
        '--input', type=int, nargs=2, metavar=('H', 'W'), help="instead of the checkpoint's rule"
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('evaluation'),
        help='folder for report.json, precision_recall.png and worst_*.png',
    )
    parser.add_argument(
        '--submission',
        type=Path,
        metavar='DIR',
        help="measure nothing: write the KITTI server's zip for the test set in --data to DIR",
    )
    args = parser.parse_args(argv)
    if args.submission and len(args.data) != 1:
        parser.error('--submission needs one --data DIR, that of KITTI road')
    if not args.data and not args.rendered:
        parser.error('nothing to measure on; give --data DIR or --rendered COUNT')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Print figures of each data set and write them, with pictures, to a folder; return 0."""
    args = parse_args(argv)
    try:
        segmenter = RoadSegmenter(
            args.checkpoint or default_checkpoint_path(),
            args.device,
            args.precision,
            tuple(args.input) if args.input else None,
        )
        if args.submission:
            print(write_submission(segmenter, args.data[0], args.submission))
            return 0
        tallies = dict(tally_all(segmenter, args))
    except ValueError as error:
        raise SystemExit(f'evaluate: {error}') from error
    write_report(args.out, segmenter, tallies)
    print(f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device}')
    for name, tally in tallies.items():
        print_figures(name, tally.report())
    print(f'figures and pictures are in {args.out}')
    return 0


def tally_all(segmenter: RoadSegmenter, args: argparse.Namespace) -> Iterator[tuple[str, Tally]]:
    """Yield the name and the counts of each data set that the arguments name."""
    rule = split_rule(args)
    for root in args.data:
        frames = find_frames(root, args.split, rule)
        if not frames:
            raise DatasetError(f'{root} has no {args.split} frames; use --split all')
        name = f'{root.resolve().name} {args.split} ({len(frames)} frames)'
        yield name, measure(segmenter, examples_of(frames, name), stress=args.stress)
    if args.rendered:
        scenes = rendered_examples(args.rendered)
        name = f'rendered ({args.rendered} frames)'
        yield name, measure(segmenter, scenes, stress=args.stress)


def write_report(folder: Path, segmenter: RoadSegmenter, tallies: dict[str, Tally]) -> None:
    """Write `report.json`, `precision_recall.png` and a `worst_*.png` for each data set."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        'checkpoint_sha256': segmenter.checkpoint_sha256,
        'threshold': segmenter.threshold,
        'data': {name: tally.report() for name, tally in tallies.items()},
    }
    with written_whole(folder / 'report.json') as part:
        part.write_text(json.dumps(report, indent=2) + '\n')
    curves = {
        name: histograms['pooled'].precision_recall()
        for name, tally in tallies.items()
        for view, histograms in tally.views()
        if view == 'perspective'
    }
    plot_precision_recall(curves, folder / 'precision_recall.png')
    for name, tally in tallies.items():
        if tally.worst:
            pictures = [picture for _, _, picture in tally.worst]
            file = folder / f'worst_{name.partition(" ")[0]}.png'
            cv2.imwrite(str(file), sheet(pictures, columns=3))


def print_figures(name: str, report: dict[str, Any]) -> None:
    """Print one data set's report, a line for each kind of figure."""
    print(f'{name}: ' + ', '.join(f'{k} {_text(report[k])}' for k in ('iou', 'f1', 'accuracy')))
    for view in ('perspective', 'birds_eye_view'):
        for category, measures in report.get(view, {}).items():
            text = ', '.join(f'{k} {_text(v)}' for k, v in measures.items())
            print(f'  {view} {category}: {text}')
    if 'false_positive_rate_by_class' in report:
        rates = report['false_positive_rate_by_class'].items()
        print('  taken for road: ' + ', '.join(f'{k} {100 * v:.1f} %' for k, v in rates))
    for stress, figures in report.get('stress', {}).items():
        print(f'  {stress}: iou {_text(figures["iou"])} ({figures["change"]:+.4f})')


def _text(value: float | int | None) -> str:
    if value is None:
        return 'undefined'
    return f'{value:.4f}' if isinstance(value, float) and value <= 1 else f'{value:.4g}'


if __name__ == '__main__':
    raise SystemExit(main())
