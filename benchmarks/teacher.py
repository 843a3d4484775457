"""Time a teacher's p(road) on training crops on a CPU: by PyTorch, and as `train` computes it.

    PYTHONPATH=. OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/teacher.py

Each round runs both in turn, so that a varying load affects both.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from fcn_road_seg.commands.arguments import size_hw, whole_number
from fcn_road_seg.inference.fast_teacher import fast_road_logit
from fcn_road_seg.model.shipped_checkpoints import DEFAULT
from fcn_road_seg.training.recipes import STRONG
from fcn_road_seg.training.teacher import load_teacher
from fcn_road_seg.utils.cpu_features import has_bfloat16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--checkpoint', default=DEFAULT, help='The teacher (default: %(default)r).'
    )
    parser.add_argument('--crop', type=size_hw, default=STRONG.crop_hw, metavar='HxW')
    parser.add_argument('--batch', type=whole_number(1), default=STRONG.batch, metavar='N')
    parser.add_argument('--rounds', type=whole_number(1), default=20, metavar='N')
    args = parser.parse_args()
    # As `train` does by default.
    in_bfloat16 = has_bfloat16()
    teachers = {
        'PyTorch': load_teacher(args.checkpoint, lambda _: None),
        'train': load_teacher(args.checkpoint, lambda c: fast_road_logit(c, print)),
    }
    crops = torch.rand(args.batch, 3, *args.crop)
    crops = crops.contiguous(memory_format=torch.channels_last)
    times_s = {name: [] for name in teachers}
    for i in range(args.rounds + 1):
        for name, teacher in teachers.items():
            began_s = time.perf_counter()
            with torch.autocast('cpu', torch.bfloat16, enabled=in_bfloat16):
                teacher.p_road(crops)
            # The first round compiles.
            if i:
                times_s[name].append(time.perf_counter() - began_s)
    by_pytorch_s, by_train_s = (np.array(times) for times in times_s.values())
    for name, times in times_s.items():
        print(f'{name}: {np.median(times):.3f} s')
    print(f'ratio: {np.median(by_train_s / by_pytorch_s):.2f}')


if __name__ == '__main__':
    main()
