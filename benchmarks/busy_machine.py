"""Time the segmenter alone and beside a busy process, for ways in which OpenMP's threads wait.

PYTHONPATH=. python benchmarks/busy_machine.py [--backend ncnn] [--frame 375x1242] [--frames 10]
"""

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection

import numpy as np

from fcn_road_seg.commands.arguments import size_hw

# GNU OpenMP spins 300,000 times if neither of the variables is set.
WAITS = {
    'spin (GNU OpenMP)': {'GOMP_SPINCOUNT': '300000'},
    'spin shortly': {'GOMP_SPINCOUNT': '1000'},
    'passive (ours)': {'OMP_WAIT_POLICY': 'passive'},
}
VARIABLES = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')
ROUNDS = 3


def segment_frames(link: Connection, backend: str, frame_hw: tuple[int, int], frames: int) -> None:
    """On each request, segment `frames` frames; send each one's wall and CPU time in s."""
    from fcn_road_seg import RoadSegmenter, default_checkpoint_path

    segmenter = RoadSegmenter(default_checkpoint_path(), 'cpu', backend=backend)
    segmenter.warm_up(frame_hw)
    frame = np.zeros((*frame_hw, 3), np.uint8)
    link.send([])
    while link.recv():
        times_s = []
        for _ in range(frames):
            began_s, cpu_s = time.perf_counter(), time.process_time()
            segmenter(frame, overlay=True)
            times_s.append((time.perf_counter() - began_s, time.process_time() - cpu_s))
        link.send(times_s)


def keep_busy() -> None:
    """Compute forever."""
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--backend', default='ncnn', help='Backend (default: ncnn).')
    parser.add_argument(
        '--frame',
        type=size_hw,
        default=(375, 1242),
        metavar='HxW',
        help='Size of the frame (default: 375x1242).',
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=10,
        metavar='N',
        help=f'Number of frames in each of the {ROUNDS} rounds (default: 10).',
    )
    args = parser.parse_args()
    context = multiprocessing.get_context('spawn')
    links: dict[str, Connection] = {}
    for name, variables in WAITS.items():
        for variable in VARIABLES:
            os.environ.pop(variable, None)
        os.environ.update(variables)
        links[name], there = context.Pipe()
        context.Process(
            target=segment_frames,
            args=(there, args.backend, args.frame, args.frames),
            daemon=True,
        ).start()
        links[name].recv()
    for load in ('alone', 'beside a busy process'):
        if load != 'alone':
            context.Process(target=keep_busy, daemon=True).start()
        times_s: dict[str, list[tuple[float, float]]] = {name: [] for name in WAITS}
        for _ in range(ROUNDS):
            for name, link in links.items():
                link.send(True)
                times_s[name] += link.recv()
        for name, measured in times_s.items():
            wall_ms, cpu_ms = (
                1e3 * statistics.median(values) for values in zip(*measured, strict=True)
            )
            print(f'{load}, {name}: {wall_ms:.1f} ms a frame, {cpu_ms:.1f} ms of CPU time')


if __name__ == '__main__':
    main()
