"""Plots: a training's curves, precision over recall."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcn_road_seg.files import written_whole


def plot_curves(metrics_csv: Iterable[Path], path: Path) -> None:
    """Plot loss and IoU over the steps, from Lightning's CSV files, one a start of the run."""
    curves: dict[str, dict[int, float]] = {}
    for file in sorted(metrics_csv, key=lambda file: file.stat().st_mtime):
        with file.open(newline='') as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    # Of a step that a resumed run did again, the later value counts.
                    if value and name not in ('epoch', 'step'):
                        curves.setdefault(name, {})[int(row['step'])] = float(value)
    figure = Figure(figsize=(10, 4), layout='constrained')
    losses, ious = figure.subplots(1, 2)
    for axes, prefix, text in ((losses, 'train/loss', 'loss'), (ious, 'val/', 'validation IoU')):
        for name in sorted(n for n in curves if n.startswith(prefix)):
            steps, values = zip(*sorted(curves[name].items()), strict=True)
            label = name.removeprefix('val/').removeprefix('iou_')
            axes.plot(steps, values, marker='.', label='mean' if label == 'iou' else label)
        _dress(axes, 'step', text)
    _save(figure, path)


def plot_precision_recall(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Plot precision over recall, both in [0, 1] at falling thresholds, one curve a name."""
    figure = Figure(figsize=(5, 5), layout='constrained')
    axes = figure.subplots()
    for name, (precision, recall) in curves.items():
        axes.plot(recall, precision, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    _dress(axes, 'recall', 'precision')
    _save(figure, path)


def _dress(axes: Axes, x_text: str, y_text: str) -> None:
    axes.set_xlabel(x_text)
    axes.set_ylabel(y_text)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as part:
        figure.savefig(part, format='png', dpi=120)
