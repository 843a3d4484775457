"""Bags segmented on the machines of a Ray cluster; Ray schedules and retries the tasks."""

from __future__ import annotations

import functools
import logging
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fcn_road_seg.bags.bag_segmenter import camera_topics
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.labeller import (
    MAX_ATTEMPTS,
    Assignment,
    Labeller,
    Outcome,
    Progress,
    reason_of,
)
from fcn_road_seg.fleet.ranges import Range

LOCAL = 'local'
# A longer bag is split into tasks of at most about this size: a minute on one CPU with AMX.
TASK_FRAMES = 2000
# Ray is given this many times the tasks that can run at once, so that no process waits for the
# driver.
TASKS_A_SLOT = 2


@contextmanager
def ray_cluster(address: str) -> Iterator[ModuleType]:
    """Yield ray, connected to the cluster at `address`; LOCAL starts one for the block.

    Raises:
        BagError: ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise BagError(f"ray cannot be imported ({error}); pip install 'ray>=2.40,<3'") from error
    dashboard = False if address == LOCAL else None
    try:
        ray.init(
            address,
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray's own class, if its processes do not start in time
        raise BagError(
            f'no Ray cluster at {address} ({_last_line(error)}); start one, or try again, with '
            'RAY_AUTH_MODE=token if it requires a token'
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def task_resources(ray: ModuleType, device: str, cpus: int) -> dict[str, int]:
    """Return what Ray is to reserve for each task: `cpus` CPUs, and a GPU if `device` needs one.

    `device` is auto (a GPU if the cluster has any), cpu or cuda.

    Raises:
        BagError: no machine of the cluster has these resources, or `device` is none of these.
    """
    if device not in ('auto', 'cpu', 'cuda'):
        raise BagError(f'device {device!r}: Ray chooses the GPU of each task; use cuda')
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    has_gpus = any(machine.get('GPU', 0) >= 1 for machine in machines)
    gpus = 1 if device == 'cuda' or (device == 'auto' and has_gpus) else 0
    if not any(m.get('CPU', 0) >= cpus and m.get('GPU', 0) >= gpus for m in machines):
        raise BagError(
            f'no machine of the cluster has {cpus} CPUs and {gpus} GPUs for a task; '
            'use fewer --threads, or --device cpu'
        )
    return {'num_cpus': cpus, 'num_gpus': gpus}


def label_on_ray(
    ray: ModuleType,
    assignment: Assignment,
    jobs: Sequence[BagJob],
    resources: Mapping[str, int],
    task_frames: int = TASK_FRAMES,
) -> Iterator[Outcome | Progress]:
    """Segment bags in Ray's tasks; yield their progress, and each bag's outcome once.

    A bag of more than `task_frames` frames is split; 0 splits none. If a task's process or
    machine dies, Ray retries the task; it is tried at most MAX_ATTEMPTS times.
    """
    options = {**resources, 'max_retries': MAX_ATTEMPTS - 1}
    label, label_range, merge = (
        ray.remote(**options)(task) for task in (_label, _label_range, _merge)
    )
    shared = ray.put(pickle.dumps(assignment))
    # The tasks whose results are the bags' outcomes, and those that do a part of a bag.
    last: dict[Any, BagJob] = {}
    parts: dict[Any, BagJob] = {}

    def submit(job: BagJob) -> None:
        starts = _range_starts(job, assignment, task_frames)
        if len(starts) < 2:
            last[label.remote(shared, job)] = job
            return
        spans = zip(starts, [*starts[1:], None], strict=True)
        ranges = [label_range.remote(shared, job, *span) for span in spans]
        parts.update(dict.fromkeys(ranges, job))
        last[merge.remote(shared, job, *ranges)] = job

    waiting = list(reversed(jobs))
    frames: Counter[BagJob] = Counter()
    while waiting or last:
        # Ray merges a bag only when no range waits for a process, so only a few may wait at once.
        limit = TASKS_A_SLOT * _slots(ray, resources)
        while waiting and len(parts) + len(last) < limit:
            submit(waiting.pop())
        (reference,), _ = ray.wait([*parts, *last])
        try:
            result = ray.get(reference)
        except ray.exceptions.RayError as error:
            result = f'{_last_line(error)}; run the command again to retry'
        if reference in parts:
            job = parts.pop(reference)
            # An error becomes the outcome of the task that merges the bag.
            if isinstance(result, Range):
                frames[job] += result.counts.segmented + result.counts.errors.total()
                yield Progress(job, frames[job])
        else:
            job = last.pop(reference)
            yield Outcome(job, error=result) if isinstance(result, str) else result


def _slots(ray: ModuleType, resources: Mapping[str, int]) -> int:
    """Return how many tasks the cluster, which may grow, can run at once."""
    total = ray.cluster_resources()
    names = {'num_cpus': 'CPU', 'num_gpus': 'GPU'}
    fits = (total.get(names[name], 0) // need for name, need in resources.items() if need)
    return max(1, int(min(fits)))


def _range_starts(job: BagJob, assignment: Assignment, task_frames: int) -> list[int]:
    """Return the first message of each range of a bag, or [0] if it is not split."""
    options = assignment.options
    try:
        with BagReader(job.source) as reader:
            cameras = camera_topics(reader.topics, options.topics)
            frames = sum(reader.topics[camera].count for camera in cameras)
            messages = sum(topic.count for topic in reader.topics.values())
    except (BagError, OSError):
        # The task will report the error.
        return [0]
    if not 0 < task_frames < frames:
        return [0]
    if not options.originals:
        messages = frames
    count = -(-frames // task_frames)
    return [messages * part // count for part in range(count)]


@functools.lru_cache(maxsize=1)
def _labeller(assignment: bytes) -> Labeller:
    """Return the labeller of this process, which Ray uses for many tasks."""
    made: Labeller = Labeller(pickle.loads(assignment))
    return made


def _label(assignment: bytes, job: BagJob) -> Outcome:
    return _attempt(assignment, job, lambda labeller: Outcome(job, labeller.label(job)))


def _label_range(assignment: bytes, job: BagJob, first: int, end: int | None) -> Range | Outcome:
    return _attempt(assignment, job, lambda labeller: labeller.label_range(job, first, end))


def _merge(assignment: bytes, job: BagJob, *parts: Range | Outcome) -> Outcome:
    for part in parts:
        if isinstance(part, Outcome):
            return part
    ranges = [part for part in parts if isinstance(part, Range)]
    return _attempt(assignment, job, lambda labeller: Outcome(job, labeller.merge(job, ranges)))


def _attempt(assignment: bytes, job: BagJob, work: Callable[[Labeller], Range | Outcome]) -> Any:
    """Return the result of `work`, or an outcome that says why there is none."""
    try:
        labeller = _labeller(assignment)
    except (ValueError, OSError, RuntimeError) as error:
        return Outcome(job, error=reason_of(error), is_fatal=True)
    try:
        return work(labeller)
    except (ValueError, OSError, RuntimeError) as error:
        return Outcome(job, error=reason_of(error))


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
