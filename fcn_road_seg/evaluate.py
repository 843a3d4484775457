"""Measure a checkpoint on labelled frames, through the segmenter that the node runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryJaccardIndex
from tqdm import tqdm

from fcn_road_seg.checkpoint import default_checkpoint_path
from fcn_road_seg.datasets import VOID, find_frames
from fcn_road_seg.segmenter import RoadSegmenter
from fcn_road_seg.train import RENDERED_VAL_SEED, rendered_frames


def road_measures(
    segmenter: RoadSegmenter, samples: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Return IoU, F1 and accuracy of the road in [0, 1], all pixels that are not void pooled.

    `samples` are ((H, W, 3) uint8 RGB, (H, W) uint8 label); masks are compared at the frame's
    own size and the checkpoint's threshold.
    """
    measures = MetricCollection(
        {
            'iou': BinaryJaccardIndex(ignore_index=VOID),
            'f1': BinaryF1Score(ignore_index=VOID),
            'accuracy': BinaryAccuracy(ignore_index=VOID),
        }
    )
    for frame_rgb, label in samples:
        mask = segmenter(frame_rgb, channel_order='rgb', confidence=False).mask
        measures.update(torch.from_numpy(mask > 0), torch.from_numpy(label))
    figures = measures.compute()
    return {name: round(figures[name].item(), 4) for name in ('iou', 'f1', 'accuracy')}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='evaluate',
        description='Measure a checkpoint on labelled frames: IoU, F1 and accuracy of the road.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--data',
        nargs='+',
        default=[],
        metavar='DIR',
        help='KITTI road, CamVid, IDD Lite or images + masks folders',
    )
    parser.add_argument('--split', choices=('train', 'val', 'all'), default='val')
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='tail of each category that is val, where a data set has no split of its own',
    )
    parser.add_argument(
        '--rendered', type=int, default=0, metavar='COUNT', help='also COUNT unseen scenes'
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--device', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument(
        '--input', type=int, nargs=2, metavar=('H', 'W'), help="instead of the checkpoint's rule"
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')
    args = parser.parse_args(argv)
    if not args.data and not args.rendered:
        parser.error('nothing to measure on; give --data DIR or --rendered COUNT')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line of figures for each data set; return 0."""
    args = parse_args(argv)
    splits = ('train', 'val') if args.split == 'all' else (args.split,)
    try:
        segmenter = RoadSegmenter(
            args.checkpoint or default_checkpoint_path(),
            args.device,
            args.precision,
            tuple(args.input) if args.input else None,
        )
        figures: dict[str, dict[str, float]] = {}
        for root in args.data:
            frames = [f for s in splits for f in find_frames(root, s, args.val_fraction)]
            name = f'{Path(root).name} {args.split} ({len(frames)} frames)'
            loaded = (f.load() for f in tqdm(frames, desc=name, unit='frame', leave=False))
            figures[name] = road_measures(segmenter, loaded)
    except ValueError as error:
        raise SystemExit(f'evaluate: {error}') from error
    if args.rendered:
        scenes = rendered_frames(args.rendered, RENDERED_VAL_SEED, 'rendered')
        figures[f'rendered ({args.rendered} frames)'] = road_measures(segmenter, scenes)
    print(f'checkpoint {segmenter.checkpoint_sha256[:12]} on {segmenter.device}')
    for name, measures in figures.items():
        print(f'{name}: ' + ', '.join(f'{key} {value:.4f}' for key, value in measures.items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
