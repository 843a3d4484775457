"""TODO: one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2

from fcn_road_seg.evaluation.evaluator import Evaluation
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.viz.contact_sheet import make_contact_sheet
from fcn_road_seg.viz.plots import plot_precision_recall


def write_report(folder: Path, segmenter: RoadSegmenter, tallies: dict[str, Evaluation]) -> None:
    """Write `report.json`, `precision_recall.png` and a `worst_*.png` for each data set."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        'checkpoint_sha256': segmenter.checkpoint_sha256,
        'threshold': segmenter.threshold,
        'data': {name: tally.report() for name, tally in tallies.items()},
    }
    with atomic_write(folder / 'report.json') as part:
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
            cv2.imwrite(str(file), make_contact_sheet(pictures, columns=3))


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
