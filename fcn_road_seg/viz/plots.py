"""Plots: training curves, precision over recall, and bars of times."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcn_road_seg.utils.atomic_write import atomic_write

LINE_STYLES = ('--', ':')


@dataclass(frozen=True)
class TimeBar:
    """A time's quartiles (q1, median, q3) in ms; `note` is drawn after the end of the bar.

    The bar is grey if it `is_rival`: the others are compared with it.
    """

    text: str
    quartiles_ms: tuple[float, float, float]
    note: str
    is_rival: bool


@dataclass(frozen=True)
class TimePanel:
    """Bars to compare with one another and with vertical lines, at `lines_ms` by label."""

    title: str
    bars: Sequence[TimeBar]
    lines_ms: Mapping[str, float]
    x_text: str


def plot_curves(metrics_csv: Iterable[Path], path: Path) -> None:
    """Plot loss and IoU over the steps, from Lightning's CSV files, one for each start of a run.

    The plot is a PNG file at `path`, like those of the functions below.
    """
    curves: dict[str, dict[int, float]] = {}
    for file in sorted(metrics_csv, key=lambda file: file.stat().st_mtime):
        with file.open(newline='') as lines:
            for row in csv.DictReader(lines):
                for name, value in row.items():
                    # If a resumed run repeated a step, the later value counts.
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
    """Plot one curve (precision, recall) per name; both are in [0, 1], at falling thresholds."""
    figure = Figure(figsize=(5, 5), layout='constrained')
    axes = figure.subplots()
    for name, (precision, recall) in curves.items():
        axes.plot(recall, precision, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    _dress(axes, 'recall', 'precision')
    _save(figure, path)


def plot_times(panels: Sequence[TimePanel], path: Path) -> None:
    """Plot panels of bars: median times, with whiskers from the lower to the upper quartile.

    All panels have bars of the same texts in the same order; only the first panel shows the texts.
    """
    count = len(panels[0].bars)
    figure = Figure(figsize=(2.4 + 3.6 * len(panels), 1.5 + 0.42 * count), layout='constrained')
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(row, panels, strict=True):
        q1, median, q3 = np.array([bar.quartiles_ms for bar in panel.bars]).T
        whiskers = {'ecolor': '0.3', 'capsize': 3}
        colours = ['0.6' if bar.is_rival else 'C0' for bar in panel.bars]
        axes.barh(
            range(count), median, xerr=(median - q1, q3 - median), color=colours, error_kw=whiskers
        )
        for index, bar in enumerate(panel.bars):
            axes.annotate(
                bar.note,
                (q3[index], index),
                xytext=(6, 0),
                textcoords='offset points',
                va='center',
                bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1},
            )
        for index, (text, ms) in enumerate(panel.lines_ms.items()):
            axes.axvline(ms, color='k', linestyle=LINE_STYLES[index % 2], label=text)
        # Leaves room for the note after the longest bar.
        axes.set_xlim(0, 1.6 * q3.max())
        axes.set_yticks(range(count), [bar.text for bar in panel.bars])
        axes.set_title(panel.title)
        axes.set_xlabel(panel.x_text)
        axes.grid(axis='x', alpha=0.3)
        axes.set_axisbelow(True)
    row[0].invert_yaxis()
    figure.legend(*row[0].get_legend_handles_labels(), loc='outside lower center', ncols=2)
    _save(figure, path)


def _dress(axes: Axes, x_text: str, y_text: str) -> None:
    axes.set_xlabel(x_text)
    axes.set_ylabel(y_text)
    axes.grid(alpha=0.3)
    if axes.lines:
        legend = axes.legend(axes.lines, ['name'] * len(axes.lines))
        for text, line in zip(legend.get_texts(), axes.lines, strict=True):
            # Set here, since Matplotlib before 3.10 leaves out names like _road.
            text.set_text(str(line.get_label()))
            # A dollar sign in the name of a data set must not start a formula.
            text.set_parse_math(False)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as part:
        figure.savefig(part, format='png', dpi=120)
