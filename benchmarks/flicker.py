"""Count what flickers in the masks: specks beside the road, holes in it, unexplained changes.

PYTHONPATH=. python benchmarks/flicker.py [--checkpoint FILE] [--precision NAME] [--data DIR ...]
    [--drives N] [--seconds S] [--min-region SHARE]

Data sets are taken frame by frame, in order. Rendered drives, at 10 Hz, also give the change that
no motion explains: a pixel that is right in one frame and wrong in the next.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg import RoadSegmenter
from fcn_road_seg.datasets.labels import BACKGROUND, ROAD
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.synthetic.drive import SyntheticDrive

# A component below this share of the picture is a speck or a hole.
SMALL_SHARE = 0.001
RATE_HZ = 10
# Seeds that no training renders with.
FIRST_SEED = 900_001


@dataclass
class Flicker:
    """Sums over frames: numbers of specks and holes, and changed pixels in percent of a frame."""

    frames: int = 0
    specks: int = 0
    holes: int = 0
    changes: int = 0
    changed_percent: float = 0.0

    def add_mask(self, mask: np.ndarray, label: np.ndarray) -> None:
        """Count a mask, (H, W) bool, whose label is (H, W) uint8."""
        self.frames += 1
        self.specks += count_small(mask, label == BACKGROUND)
        self.holes += count_small(~mask, label == ROAD)

    def add_change(self, wrong_before: np.ndarray, wrong: np.ndarray) -> None:
        """Count the pixels that are wrong in one of two frames only, both (H, W) bool."""
        self.changes += 1
        self.changed_percent += 100 * float(np.mean(wrong_before != wrong))

    def __str__(self) -> str:
        text = f'{self.frames} frames, a frame: {self.specks / self.frames:.2f} specks'
        text += f', {self.holes / self.frames:.2f} holes'
        if self.changes:
            text += f', {self.changed_percent / self.changes:.3f} % of the pixels change'
        return text


def count_small(mask: np.ndarray, wrong_where: np.ndarray) -> int:
    """Return how many small components of `mask` lie wholly in `wrong_where`, both (H, W) bool."""
    count, component, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] < SMALL_SHARE * mask.size
    small[0] = False
    small[np.unique(component[~wrong_where])] = False
    return int(np.count_nonzero(small[:count]))


def labelled_frames(root: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (H, W, 3) uint8 BGR frames and (H, W) uint8 labels of a data set, in order."""
    for frame in find_frames(root, 'all'):
        frame_rgb, label = frame.load()
        yield frame_rgb[..., ::-1].copy(), label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', default='')
    parser.add_argument('--precision', default='float32')
    parser.add_argument('--data', nargs='*', type=Path, default=[])
    parser.add_argument('--min-region', type=float, default=0.0)
    parser.add_argument('--drives', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=4.0)
    args = parser.parse_args()
    segmenter = RoadSegmenter(args.checkpoint, 'cpu', precision=args.precision)
    segmenter.min_region = args.min_region
    for root in args.data:
        found = Flicker()
        for frame_bgr, label in labelled_frames(root):
            found.add_mask(segmenter(frame_bgr).mask > 0, label)
        print(f'{root.name}: {found}')
    found = Flicker()
    for seed in range(FIRST_SEED, FIRST_SEED + args.drives):
        drive = SyntheticDrive(seed)
        wrong = []
        for number in range(round(args.seconds * RATE_HZ)):
            frame_bgr, label = drive.render(number / RATE_HZ)
            mask = segmenter(frame_bgr).mask > 0
            found.add_mask(mask, label)
            wrong.append(mask != (label == ROAD))
        for before, after in pairwise(wrong):
            found.add_change(before, after)
    print(f'rendered drives at {RATE_HZ} Hz: {found}')


if __name__ == '__main__':
    main()
