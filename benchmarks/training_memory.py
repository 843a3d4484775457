"""Train on many frames and print the peak memory of the training and its readers.

PYTHONPATH=. python benchmarks/training_memory.py [--frames 100000] FOLDER [OPTIONS OF train]

64 rendered frames of 240 x 320 are hard-linked under as many names as asked for; each counts as a
frame of its own, which is decoded and cached. The memory is the sum of the processes' PSS, in
which a shared page counts once.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import psutil

from fcn_road_seg.synthetic import SyntheticDrive

DRIVES, FRAMES_A_DRIVE = 16, 4
DIFFERENT = DRIVES * FRAMES_A_DRIVE
SIZE_HW = (240, 320)


def write_frames(folder: Path, count: int) -> None:
    """Write `count` frames and their masks, in the folders images and masks."""
    for part in ('images', 'masks'):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        names = [folder / f'images/{number:06d}.jpg', folder / f'masks/{number:06d}.png']
        if number >= DIFFERENT:
            for name in names:
                os.link(name.with_stem(f'{number % DIFFERENT:06d}'), name)
            continue
        drive = SyntheticDrive(number // FRAMES_A_DRIVE, SIZE_HW)
        frame_bgr, label = drive.render(7.0 * (number % FRAMES_A_DRIVE))
        cv2.imwrite(str(names[0]), frame_bgr)
        cv2.imwrite(str(names[1]), label * 255)


def tree_bytes(process: psutil.Process) -> tuple[int, int]:
    """Return the PSS of a process and all its descendants together, and their number."""
    total = count = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
            count += 1
        except psutil.Error:
            pass  # It has ended.
    return total, count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='Folder of the frames; made if it is missing.')
    parser.add_argument(
        '--frames', type=int, default=100_000, help='Number of frames (default: 100000).'
    )
    args, options = parser.parse_known_args()
    if not args.folder.exists():
        write_frames(args.folder, args.frames)
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', '--data', str(args.folder)]
    began_s = time.monotonic()
    running = subprocess.Popen([*command, *options])
    peak, count = 0, 0
    while running.poll() is None:
        try:
            peak, count = max((peak, count), tree_bytes(psutil.Process(running.pid)))
        except psutil.NoSuchProcess:
            break
        time.sleep(1)
    status = running.wait()
    seconds = time.monotonic() - began_s
    print(f'{peak / 1e9:.2f} GB in {count} processes at most; {seconds:.0f} s; status {status}')
    return status


if __name__ == '__main__':
    raise SystemExit(main())
