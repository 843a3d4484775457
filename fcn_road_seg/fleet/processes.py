"""Bags segmented by several processes of this machine; one that dies is replaced."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait

from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.labeller import (
    MAX_ATTEMPTS,
    Assignment,
    Labeller,
    Outcome,
    Progress,
    reason_of,
)
from fcn_road_seg.utils.child_process import child_process

PROGRESS_PERIOD_S = 0.5


class _Worker:
    """A process with its network, and the bag that it is segmenting."""

    def __init__(self, assignment: Assignment, job: BagJob) -> None:
        self._stack = ExitStack()
        self.link = self._stack.enter_context(child_process(_work, assignment))
        self.give(job)

    def give(self, job: BagJob) -> None:
        self.job = job
        with suppress(OSError):  # it has died, which `recv` will report
            self.link.send(job)

    def close(self) -> None:
        self._stack.close()


def label_in_processes(
    assignment: Assignment, jobs: Sequence[BagJob], count: int
) -> Iterator[Outcome | Progress]:
    """Segment bags in `count` processes; yield their progress, and each bag's outcome once.

    A bag during which a process dies is given to another one, at most MAX_ATTEMPTS times.
    """
    waiting = deque(jobs)
    deaths: Counter[BagJob] = Counter()
    workers: dict[Connection, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                worker = _Worker(assignment, waiting.popleft())
                workers[worker.link] = worker
            for link in wait(list(workers)):
                assert isinstance(link, Connection)
                worker = workers[link]
                try:
                    said: Outcome | Progress = link.recv()
                except (EOFError, OSError):
                    said = Outcome(
                        worker.job,
                        error=f'its process died {MAX_ATTEMPTS} times, perhaps for lack of '
                        'memory; use fewer --jobs, or free some memory, and run the command again',
                    )
                    deaths[worker.job] += 1
                    workers.pop(link).close()
                    if deaths[worker.job] < MAX_ATTEMPTS:
                        waiting.appendleft(worker.job)
                        said = Progress(worker.job, 0)
                else:
                    if isinstance(said, Outcome) and waiting and not said.ends_process:
                        worker.give(waiting.popleft())
                    elif isinstance(said, Outcome):
                        workers.pop(link).close()
                yield said
    finally:
        for worker in workers.values():
            worker.close()


def _work(assignment: Assignment, link: Connection) -> None:
    """Segment the bags that arrive, until the other end is closed."""
    job = link.recv()
    try:
        labeller = Labeller(assignment)
    except (ValueError, OSError, RuntimeError) as error:
        link.send(Outcome(job, error=reason_of(error), is_fatal=True))
        return
    while True:
        try:
            outcome = Outcome(job, labeller.label(job, _Reporter(link, job)))
        except (ValueError, OSError) as error:
            outcome = Outcome(job, error=reason_of(error))
        except RuntimeError as error:
            # After a GPU error, this process cannot use the GPU any more.
            outcome = Outcome(job, error=reason_of(error), ends_process=True)
        try:
            link.send(outcome)
            job = link.recv()
        except (EOFError, OSError):
            return


class _Reporter:
    """Sends the number of frames done, at most every PROGRESS_PERIOD_S.

    Raises:
        OSError: the process at the other end is gone, so nobody needs this bag any more.
    """

    def __init__(self, link: Connection, job: BagJob) -> None:
        self._link, self._job = link, job
        self._frames = 0
        self._sent_s = time.monotonic()

    def __call__(self) -> None:
        self._frames += 1
        if time.monotonic() - self._sent_s >= PROGRESS_PERIOD_S:
            self._sent_s = time.monotonic()
            self._link.send(Progress(self._job, self._frames))
