"""Where the time from the start of a process to its first mask goes: a program, and the node.

    PYTHONPATH=. python benchmarks/startup.py --rounds 5

A program is a new Python process that imports the package, loads a checkpoint and segments a frame
of 375 x 1242, in each precision; the node is `segment` from its start until it waits for frames,
after it has segmented a first one. Medians over the rounds, in seconds of wall and of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time

import numpy as np

PRECISIONS = ('float32', 'auto')
PROGRAM = """
import json, sys, time
marks = [('interpreter', time.time(), time.process_time())]
def mark(name):
    marks.append((name, time.time(), time.process_time()))
import numpy, cv2
mark('import numpy, cv2')
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.inference.backends import ncnn_backend, openvino_backend
mark('import the package, ncnn, openvino')
segment = RoadSegmenter(sys.argv[2], 'cpu', sys.argv[1])
mark('load the checkpoint, build the network')
frame = numpy.zeros((375, 1242, 3), numpy.uint8)
segment(frame)
mark('first frame (compilation)')
segment(frame)
mark('(second frame)')
print(json.dumps(marks))
"""
NODE_LINES = {
    'interpreter, rclpy, parameters': 'loading ',
    'load the checkpoint, build the network': ' on cpu, ',
    'first frame (compilation)': 'loaded in ',
    'activate, subscribe': 'waiting for frames',
}


def time_program(precision: str, checkpoint: str) -> dict[str, tuple[float, float]]:
    """Return (wall, CPU) seconds of each stage of a program."""
    began_s, cpu_began_s = time.time(), 0.0
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, precision, checkpoint],
        capture_output=True,
        text=True,
        check=True,
    )
    stages = {}
    for name, now_s, cpu_s in json.loads(done.stdout):
        stages[name] = now_s - began_s, cpu_s - cpu_began_s
        began_s, cpu_began_s = now_s, cpu_s
    return stages


def time_node(checkpoint: str) -> dict[str, tuple[float, float]]:
    """Return (wall, NaN) seconds of each stage of the node, by the stamps of its log."""
    command = [sys.executable, '-m', 'fcn_road_seg', 'segment', '--ros-args']
    command += ['-p', 'device:=cpu', *(['-p', f'checkpoint:={checkpoint}'] if checkpoint else [])]
    env = {**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_DOMAIN_ID': '77'}
    began_s, stages, waited_for = time.time(), {}, list(NODE_LINES.items())
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as node:
        assert node.stdout is not None
        for line in node.stdout:
            stamp = re.search(r'\[(\d+\.\d+)\]', line)
            if stamp and waited_for and waited_for[0][1] in line:
                now_s = float(stamp[1])
                stages[waited_for.pop(0)[0]] = now_s - began_s, float('nan')
                began_s = now_s
            if not waited_for:
                break
        node.terminate()
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--rounds', type=int, default=5, metavar='N', help='Number of starts of each (default: 5).'
    )
    parser.add_argument(
        '--checkpoint', default='', metavar='NAME', help='A file, or lite (default: the default).'
    )
    args = parser.parse_args()
    rounds: dict[str, list[dict[str, tuple[float, float]]]] = {}
    for _ in range(args.rounds):
        for precision in PRECISIONS:
            rounds.setdefault(f'program, {precision}', []).append(
                time_program(precision, args.checkpoint)
            )
        rounds.setdefault('node, auto', []).append(time_node(args.checkpoint))
    for title, taken in rounds.items():
        print(f'\n| {title} | wall (s) | CPU (s) |\n| --- | --- | --- |')
        medians = {
            name: np.median([stages[name] for stages in taken], axis=0) for name in taken[0]
        }
        for name, (wall_s, cpu_s) in medians.items():
            print(f'| {name} | {wall_s:.2f} | {cpu_s:.2f} |')
        total = sum(v for name, v in medians.items() if not name.startswith('('))
        print(f'| to the first mask | {total[0]:.2f} | {total[1]:.2f} |')


if __name__ == '__main__':
    main()
