"""A run over many bags: finished ones are skipped, and one progress bar shows them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.labeller import Assignment, Outcome, Progress, reason_of
from fcn_road_seg.fleet.manifest import read_manifest
from fcn_road_seg.fleet.ranges import remove_ranges
from fcn_road_seg.fleet.staging import clear_abandoned


@dataclass
class RunCounts:
    """Numbers of bags, and of frames in those written; `failures` are reasons by input path."""

    written: int = 0
    skipped: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    segmented: int = 0
    bad: int = 0
    missing: int = 0
    seconds: float = 0.0


def segment_bags(
    assignment: Assignment,
    jobs: Sequence[BagJob],
    work: Callable[[Sequence[BagJob]], Iterable[Outcome | Progress]],
) -> RunCounts:
    """Let `work` do those jobs whose bags are not finished yet; return the counts.

    Raises:
        BagError: no bag can be segmented, for a reason that affects all bags.
    """
    counts = RunCounts()
    clear_abandoned(assignment.out)
    began_s = time.monotonic()
    try:
        with tqdm(total=len(jobs), desc='segment_bag', unit='bag') as display:
            todo = [job for job in jobs if _is_to_do(job, assignment, counts)]
            display.update(len(jobs) - len(todo))
            running: dict[BagJob, int] = {}
            for event in work(todo) if todo else ():
                if isinstance(event, Progress):
                    running[event.job] = event.frames
                else:
                    running.pop(event.job, None)
                    _count(event, counts)
                    if event.manifest:
                        remove_ranges(assignment.out, event.job)
                    display.update()
                frames = counts.segmented + counts.bad + sum(running.values())
                display.set_postfix_str(f'{frames} frames, {len(counts.failures)} failed')
    finally:
        clear_abandoned(assignment.out)
    counts.seconds = time.monotonic() - began_s
    return counts


def _is_to_do(job: BagJob, assignment: Assignment, counts: RunCounts) -> bool:
    try:
        is_finished = read_manifest(job.out, assignment.request.of(job)) is not None
    except (BagError, OSError) as error:
        counts.failures[str(job.source)] = reason_of(error)
        return False
    if is_finished:
        counts.skipped += 1
        remove_ranges(assignment.out, job)
    return not is_finished


def _count(outcome: Outcome, counts: RunCounts) -> None:
    if outcome.is_fatal:
        raise BagError(outcome.error)
    if outcome.manifest is None:
        counts.failures[str(outcome.job.source)] = outcome.error
        return
    made: dict[str, Any] = outcome.manifest['counts']
    counts.written += 1
    counts.segmented += made['segmented']
    counts.bad += sum(made['errors'].values())
    counts.missing += max(0, made['missing'])
