"""Reports of an evaluation: JSON, text, plots and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fcn_road_seg.evaluation.evaluator import Evaluation
from fcn_road_seg.evaluation.output import REPORT_NAME
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.utils.atomic_write import write_json
from fcn_road_seg.viz.contact_sheet import make_contact_sheet, write_png
from fcn_road_seg.viz.plots import plot_precision_recall


class DataSetResult(NamedTuple):
    """The evaluation of a data set, its unique name, and its title in reports."""

    name: str
    title: str
    evaluation: Evaluation


def write_report(folder: Path, segmenter: RoadSegmenter, results: Sequence[DataSetResult]) -> None:
    """Write `report.json`, `precision_recall.png` and `worst_NAME.png` of each data set.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        'checkpoint_sha256': segmenter.checkpoint_sha256,
        'precision': segmenter.precision,
        'threshold': segmenter.threshold,
        'data': {result.title: result.evaluation.report() for result in results},
    }
    write_json(report, folder / REPORT_NAME)
    curves = {result.title: result.evaluation.pooled().precision_recall() for result in results}
    plot_precision_recall(curves, folder / 'precision_recall.png')
    for result in results:
        if result.evaluation.worst:
            pictures = [picture for _, _, picture in result.evaluation.worst]
            sheet = make_contact_sheet(pictures, columns=3)
            write_png(sheet, folder / f'worst_{result.name}.png')


def format_report(title: str, report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a data set's report, one for each kind of figure."""
    yield f'{title}: ' + ', '.join(f'{k} {_format(report[k])}' for k in ('iou', 'f1', 'accuracy'))
    for view in ('perspective', 'birds_eye_view'):
        for category, measures in report.get(view, {}).items():
            text = ', '.join(f'{k} {_format(v)}' for k, v in measures.items())
            yield f'  {view} {category}: {text}'
    if 'probability' in report:
        figures = report['probability'].items()
        yield '  p(road): ' + ', '.join(f'{k} {_format(v)}' for k, v in figures)
    if 'false_positive_rate_by_class' in report:
        rates = report['false_positive_rate_by_class'].items()
        yield '  taken for road: ' + ', '.join(f'{k} {100 * v:.1f} %' for k, v in rates)
    for corruption, figures in report.get('stress', {}).items():
        iou, change = _format(figures['iou']), _format(figures['change'], sign='+')
        yield f'  {corruption}: iou {iou} ({change})'


def _format(value: float | int | None, sign: str = '') -> str:
    if value is None:
        return 'undefined'
    return f'{value:{sign}.{"4f" if isinstance(value, float) and value <= 1 else "4g"}}'
