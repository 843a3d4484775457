"""How much of a mask's edges lies on the edges of the decoder's blocks, at the input size.

    PYTHONPATH=. python benchmarks/block_edges.py CHECKPOINT ... --data .../kitti_road_recovered

It prints, for blocks of 32, 16 and 8 pixels, the share of the mask's edges (between neighbouring
pixels) that lie on a block's edge, divided by the share of all places that do. 1 is what a scene
gives by itself; more means that edges follow the blocks. Measured on validation frames, at p(road)
0.5, in float32.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.input_rule import resize_to_input
from fcn_road_seg.model.road_fcn import road_logit
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path
from fcn_road_seg.utils.sampling import evenly_spaced

BLOCKS = (32, 16, 8)


@torch.no_grad()
def input_mask(checkpoint: Checkpoint, frame_rgb: np.ndarray) -> np.ndarray:
    """Return the mask, (H, W) bool, at the input size, for an (H, W, 3) uint8 frame."""
    resized = resize_to_input(frame_rgb, checkpoint.input_rule.input_hw(frame_rgb.shape[:2]))
    x = torch.from_numpy(resized).permute(2, 0, 1)[None]
    return (road_logit(checkpoint.model.scores(x))[0] >= 0).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', nargs='+', help='A file, or lite.')
    parser.add_argument('--data', nargs='+', type=Path, required=True)
    parser.add_argument('--frames', type=int, default=40, metavar='N', help='Of each data set.')
    args = parser.parse_args()
    frames = []
    for root in args.data:
        chosen = evenly_spaced(find_frames(root, 'val'), args.frames)
        frames += [np.ascontiguousarray(frame.load()[0]) for frame in chosen]
    print('| checkpoint | edges | ' + ' | '.join(f'{block} px' for block in BLOCKS) + ' |')
    for name in args.checkpoint:
        checkpoint = load_checkpoint(checkpoint_path(name))
        places = []
        for frame_rgb in tqdm(frames, desc=name, unit='frame'):
            mask = input_mask(checkpoint, frame_rgb)
            # An edge lies between two columns or rows; its place is the number of the second one.
            places += [np.nonzero(mask[:, 1:] != mask[:, :-1])[1] + 1]
            places += [np.nonzero(mask[1:] != mask[:-1])[0] + 1]
        place = np.concatenate(places)
        excess = [f'{np.mean(place % block == 0) * block:.2f}' for block in BLOCKS]
        print(f'| {name} | {len(place)} | {" | ".join(excess)} |')


if __name__ == '__main__':
    main()
