"""Runs over many bags whose workers and driver are killed; every message must survive once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fcn_road_seg.fleet.labeller import Labeller
from fcn_road_seg.fleet.staging import FOLDER
from test.helpers.fleet import contents, jobs_of, write_drives
from test.helpers.grey_segmenter import grey_assignment

SEED = 17
# Numbers of bags and of kills.
FULL = pytest.param(40, 10, id='40-bags', marks=pytest.mark.stress)
KILLS = [pytest.param(8, 3, id='8-bags'), FULL]


class _Chaos:
    """A driver that is restarted after it was killed, and the workers of all its runs."""

    def __init__(self, command, out, worker_word, cluster=None):
        self._command, self.out = command, out
        self._worker_word, self._cluster = worker_word, cluster
        self._random = random.Random(SEED)
        self.killed = []
        self.start()

    def start(self):
        self.driver = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def workers(self):
        root = self._cluster or psutil.Process(self.driver.pid)
        found = []
        for process in root.children(recursive=True):
            try:
                if self._worker_word in ' '.join(process.cmdline()):
                    found.append(process)
            except psutil.Error:  # it has just ended
                pass
        return found

    def finished(self):
        return [bag for bag in self.out.glob('*') if bag.name != FOLDER]

    def kill_when(self, bag_count, who):
        self.wait_until(lambda: len(self.finished()) >= bag_count)
        time.sleep(self._random.uniform(0, 0.3))
        if who == 'driver':
            self.driver.kill()
            self.driver.wait()
            self.start()
        else:
            self._random.choice(self.wait_until(self.workers)).kill()
        self.killed.append(who)

    def wait_until(self, condition):
        while not (found := condition()):
            assert self.driver.poll() is None, self.driver.stdout.read()
            time.sleep(0.02)
        return found

    def end(self):
        """Run until no bag fails; the driver reports bags whose workers were killed too often."""
        for _ in range(3):
            printed, _ = self.driver.communicate(timeout=200)
            if self.driver.returncode == 0:
                return
            assert 'died' in printed
            self.start()


def check_survival(
    root: Path,
    bag_count: int,
    kills: int,
    worker_word: str,
    address: str = '',
    cluster: psutil.Process | None = None,
) -> None:
    """Run over `bag_count` bags in `root`, kill workers and driver, and compare all messages.

    Workers have `worker_word` in their command lines; they descend from the process `cluster`, or
    from the driver.
    """
    drives, out = write_drives(root / 'drives', bag_count), root / 'out'
    labeller = Labeller(grey_assignment(root / 'one'))
    for job in jobs_of(drives, root / 'one'):
        labeller.label(job)
    expected = contents(root / 'one')
    assert {len(messages) for messages in expected.values()} == {8}
    assert len(expected) == bag_count
    line = [sys.executable, '-m', 'test.helpers.fleet_driver', root / 'drives', out, address]
    chaos = _Chaos(line, out, worker_word, cluster)
    try:
        for index in range(kills):
            who = 'driver' if index % 3 == 1 else 'worker'
            chaos.kill_when(index * bag_count // (kills + 1), who)
            # Each bag that has its final name is complete.
            for name, messages in contents(out).items():
                assert messages == expected[name]
        chaos.end()
    finally:
        chaos.driver.kill()
    assert contents(out) == expected
    assert not (out / FOLDER).exists()
    assert len(chaos.killed) == kills
