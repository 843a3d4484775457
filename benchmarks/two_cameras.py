"""Compare one process for two cameras with two processes: memory, and frames a second.

PYTHONPATH=. python benchmarks/two_cameras.py [--frames 20]
"""

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

FRAME_HW = (375, 1242)


def memory_mib() -> float:
    """Return this process's proportional set size (PSS), which counts shared pages in part."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('Pss:')) / 1024


def segment_frames(link: Connection, cameras: int, threads: int, frames: int) -> None:
    """Segment `frames` frames of each camera in turn; send the memory and the seconds."""
    from fcn_road_seg import RoadSegmenter, default_checkpoint_path
    from fcn_road_seg.inference.cpu_threads import limit_cpu_threads

    limit_cpu_threads(threads)
    segmenter = RoadSegmenter(default_checkpoint_path(), 'cpu', 'float32')
    segmenter.warm_up(FRAME_HW)
    frame = np.zeros((*FRAME_HW, 3), np.uint8)
    link.send('ready')
    link.recv()
    began_s = time.monotonic()
    for _ in range(frames * cameras):
        segmenter(frame, overlay=True)
    link.send((memory_mib(), time.monotonic() - began_s))
    link.recv()


def measure(processes: int, frames: int) -> tuple[float, float]:
    """Return MiB and frames a second of two cameras in one or two processes, all cores in use."""
    context = multiprocessing.get_context('spawn')
    threads = max(1, (os.cpu_count() or 1) // processes)
    started = []
    for _ in range(processes):
        here, there = context.Pipe()
        process = context.Process(
            target=segment_frames, args=(there, 2 // processes, threads, frames)
        )
        process.start()
        started.append((process, here))
    for message in ('ready', 'go'):
        for _, link in started:
            link.recv() if message == 'ready' else link.send(message)
    answers = [link.recv() for _, link in started]
    for process, link in started:
        link.send('end')
        process.join()
    return sum(mib for mib, _ in answers), 2 * frames / max(seconds for _, seconds in answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--frames',
        type=int,
        default=20,
        metavar='N',
        help='Number of frames of each camera (default: 20).',
    )
    args = parser.parse_args()
    results: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(3):
        for processes, measured in results.items():
            measured.append(measure(processes, args.frames))
    for processes, measured in results.items():
        mib, rate = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f'{processes} process(es): {mib:.0f} MiB, {rate:.1f} frames/s in all')


if __name__ == '__main__':
    main()
