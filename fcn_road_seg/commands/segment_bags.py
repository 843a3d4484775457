"""The part of `segment_bag` that segments many bags, on one machine or on many."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fcn_road_seg.bags.options import BagOptions
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.commands.arguments import build_segmenter, part_of, whole_number
from fcn_road_seg.commands.cli import without_number
from fcn_road_seg.commands.ending_signals import interrupt_on_signals
from fcn_road_seg.fleet.catalogue import BagJob, find_bags, is_one_bag
from fcn_road_seg.fleet.labeller import Assignment, Outcome, Progress
from fcn_road_seg.fleet.manifest import Request
from fcn_road_seg.fleet.processes import label_in_processes
from fcn_road_seg.fleet.ray_cluster import (
    LOCAL,
    TASK_FRAMES,
    label_on_ray,
    ray_cluster,
    task_resources,
)
from fcn_road_seg.fleet.run import RunCounts, segment_bags
from fcn_road_seg.messages.one_line import one_line
from fcn_road_seg.model.checkpoint_file import read_checkpoint
from fcn_road_seg.model.shipped_checkpoints import FILE_NAMES, checkpoint_path
from fcn_road_seg.utils.atomic_write import refuse_unwritable_folder
from fcn_road_seg.utils.cpu_features import usable_cpus

# The options that, with the checkpoint, determine the network's results.
NETWORK_OPTIONS = (
    'device',
    'precision',
    'backend',
    'input',
    'roi_top',
    'threshold',
    'min_region',
)


def add_fleet_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for many bags; any of them makes OUT a folder of bags."""
    group = parser.add_argument_group(
        'many bags',
        'With several bags, a folder that contains bags, a quoted pattern or one of these '
        'options, OUT is a folder that gets one bag for each bag read. To continue an interrupted '
        'run, run the same command again. See docs/fleet.md.',
    )
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        '--jobs',
        type=whole_number(1),
        metavar='N',
        help='Number of bags to segment at once; they share the CPU threads (default: 1).',
    )
    where.add_argument(
        '--ray',
        nargs='?',
        const=LOCAL,
        metavar='ADDRESS',
        help='Segment on the Ray cluster at ADDRESS, such as auto or 10.0.0.1:6379 (default: '
        'start one on this machine). Each task has --threads CPUs (0: one) and, on GPUs, one GPU.',
    )
    group.add_argument(
        '--task-frames',
        type=whole_number(0),
        metavar='N',
        help='With --ray, split bags of more than N frames into several tasks; 0 splits none '
        f'(default: {TASK_FRAMES}).',
    )
    group.add_argument(
        '--shard',
        type=part_of,
        metavar='K/N',
        help='Segment only the K-th of N parts of the bags, for example in a job array.',
    )


def asks_for_many(args: argparse.Namespace) -> bool:
    """Return whether the arguments of `segment_bag` make OUT a folder of bags."""
    options = (args.jobs, args.ray, args.shard, args.task_frames)
    return (
        any(option is not None for option in options)
        or len(args.bags) > 1
        or not is_one_bag(args.bags[0])
    )


def segment_many(args: argparse.Namespace, options: BagOptions) -> None:
    """Segment all bags that the arguments name, and print what became of them.

    Raises:
        BagError: no bag is found, some failed, or no worker can start.
        CheckpointError, GroundError, ValueError, OSError: as load_checkpoint, Mounting and
            refuse_unwritable_folder.
    """
    if args.video:
        raise BagError('--video shows one bag; leave it out, or give a single bag')
    if args.task_frames is not None and args.ray is None:
        raise BagError('--task-frames has no effect without --ray; add --ray or leave it out')
    if options.grid:
        options.grid.mounting()
    out = args.out.absolute()
    if out.exists() and is_one_bag(out):
        kind = 'bag' if out.is_dir() else 'file'
        raise BagError(f'{args.out} is a {kind}; with many bags, give a folder for the new ones')
    jobs = find_bags([source.absolute() for source in args.bags], out)
    if args.shard:
        k, n = args.shard
        jobs = jobs[k - 1 :: n]
    refuse_unwritable_folder(out)
    if args.ray is None:
        count = args.jobs or 1
        assignment = _assignment(args, options, out, threads_of_a_job(args.threads, count))
        counts = segment_bags(
            assignment, jobs, lambda todo: label_in_processes(assignment, todo, count)
        )
    else:
        assignment = _assignment(args, options, out, args.threads or 1)
        counts = segment_bags(
            assignment, jobs, lambda todo: _label_on_cluster(args, assignment, todo)
        )
    print_result(args.out, counts, len(jobs))


def _assignment(
    args: argparse.Namespace, options: BagOptions, out: Path, threads: int
) -> Assignment:
    named = {name: getattr(args, name) for name in NETWORK_OPTIONS}
    sha256 = read_checkpoint(checkpoint_path(args.checkpoint)).sha256
    settings = argparse.Namespace(**{**vars(args), 'threads': threads})
    if args.checkpoint not in FILE_NAMES:
        # Workers on other machines have other working folders.
        settings.checkpoint = str(Path(args.checkpoint).absolute())
    return Assignment(
        out,
        options,
        functools.partial(build_segmenter, settings),
        Request(sha256, {**asdict(options), **named}),
    )


def _label_on_cluster(
    args: argparse.Namespace, assignment: Assignment, jobs: Sequence[BagJob]
) -> Iterator[Outcome | Progress]:
    with ray_cluster(args.ray) as ray:
        # Ray sets a handler that prints a C++ stack and ends the process with status 1.
        interrupt_on_signals()
        resources = task_resources(ray, args.device, args.threads or 1)
        frames = TASK_FRAMES if args.task_frames is None else args.task_frames
        yield from label_on_ray(ray, assignment, jobs, resources, frames)


def threads_of_a_job(threads: int, count: int) -> int:
    """Return each job's share of `threads` (0: all cores); a single job gets `threads` itself."""
    if count == 1:
        return threads
    return max(1, (threads or len(usable_cpus())) // count)


def print_result(out: Path, counts: RunCounts, total: int) -> None:
    """Print the numbers of bags and frames, and why bags failed.

    Raises:
        BagError: some failed.
    """
    if counts.missing:
        print(
            f"missing: {counts.missing} messages listed in the bags' metadata are not in their "
            'files'
        )
    print(
        f'{out}: {total} bags: {counts.written} written, {counts.skipped} already there, '
        f'{len(counts.failures)} failed; {counts.segmented} frames segmented, {counts.bad} bad; '
        f'{counts.seconds:.1f} s, {counts.segmented / max(counts.seconds, 1e-9):.1f} frames/s'
    )
    for source, reason in counts.failures.items():
        # Many reasons begin with the bag's path.
        name = '' if source in reason else f'{source}: '
        print(f'failed: {name}{without_number(one_line(reason))}')
    if counts.failures:
        raise BagError(
            f"{len(counts.failures)} of {total} bags failed; the 'failed:' lines say why"
        )
