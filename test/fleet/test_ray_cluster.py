import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import psutil
import pytest

pytest.importorskip('ray', reason='ray is not installed')

import ray

from fcn_road_seg.bags.options import BagOptions
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.labeller import Labeller, Outcome, Progress
from fcn_road_seg.fleet.ray_cluster import label_on_ray, ray_cluster, task_resources
from test.helpers.bag_files import write_damaged_bag
from test.helpers.chaos import FULL, check_survival
from test.helpers.fleet import contents, jobs_of, write_drives
from test.helpers.grey_segmenter import LostGpu, grey_assignment

pytestmark = pytest.mark.usefixtures('cluster_address')
ONE_CPU = {'num_cpus': 1}


@pytest.fixture
def drives(tmp_path):
    return write_drives(tmp_path / 'drives', 3, frames=6)


def label(tmp_path, drives, task_frames, **changes):
    out = tmp_path / 'out'
    assignment = grey_assignment(out, **changes)
    return list(label_on_ray(ray, assignment, jobs_of(drives, out), ONE_CPU, task_frames))


# 0 splits none; of 4 and 5 there are two ranges, of unequal size; of 1 there are six.
@pytest.mark.parametrize('task_frames', [0, 5, 1])
@pytest.mark.parametrize('originals', [False, True])
def test_bags_are_those_of_one_process(tmp_path, drives, task_frames, originals):
    options = BagOptions(originals=originals)
    one = Labeller(grey_assignment(tmp_path / 'one', options))
    for job in jobs_of(drives, tmp_path / 'one'):
        one.label(job)
    events = label(tmp_path, drives, task_frames, options=options)
    outcomes = [event for event in events if isinstance(event, Outcome)]
    assert sorted(outcome.job.source for outcome in outcomes) == drives
    assert contents(tmp_path / 'out') == contents(tmp_path / 'one')
    frames = [event.frames for event in events if isinstance(event, Progress)]
    ranges = 6 // task_frames if task_frames else 0
    assert len(frames) == (3 * max(2, ranges) if task_frames else 0)
    assert max(frames, default=6) == 6


@pytest.mark.parametrize('task_frames', [0, 2])
def test_bag_that_cannot_be_read_fails_alone(tmp_path, drives, task_frames):
    shutil.rmtree(drives[1])
    write_damaged_bag(drives[1])
    outcomes = [e for e in label(tmp_path, drives, task_frames) if isinstance(e, Outcome)]
    errors = {outcome.job.source.name: outcome.error for outcome in outcomes}
    assert errors['drive_00'] == errors['drive_02'] == ''
    assert 'drive_01 is damaged after' in errors['drive_01']


def test_bag_on_a_failed_gpu_fails_with_the_remedy(tmp_path, drives):
    lost = partial(LostGpu, tmp_path / 'lost')
    assignment = replace(grey_assignment(tmp_path), make_segmenter=lost)
    (outcome,) = label_on_ray(ray, assignment, jobs_of(drives[:1], tmp_path), ONE_CPU)
    assert outcome.error.startswith('CUDA out of memory; use --device cpu, ')


def test_worker_that_cannot_start_says_why(tmp_path, drives):
    event = label(tmp_path, drives, 0, sha256='other')[0]
    assert event.is_fatal
    assert 'the checkpoint is other here' in event.error


def test_task_has_one_gpu_if_it_needs_one():
    assert task_resources(ray, 'cpu', 2) == {'num_cpus': 2, 'num_gpus': 0}
    assert task_resources(ray, 'auto', 1) == {'num_cpus': 1, 'num_gpus': 0}
    gpus = type('Cluster', (), {'nodes': staticmethod(lambda: MACHINES)})
    assert task_resources(gpus, 'auto', 4) == {'num_cpus': 4, 'num_gpus': 1}
    assert task_resources(gpus, 'cuda', 4) == {'num_cpus': 4, 'num_gpus': 1}
    assert task_resources(gpus, 'cpu', 32) == {'num_cpus': 32, 'num_gpus': 0}


MACHINES = [
    {'Alive': True, 'Resources': {'CPU': 32.0}},
    {'Alive': True, 'Resources': {'CPU': 8.0, 'GPU': 2.0}},
    {'Alive': False, 'Resources': {'CPU': 99.0, 'GPU': 8.0}},
]


@pytest.mark.parametrize(
    ('device', 'cpus', 'reason'),
    [
        ('cuda', 1, 'no machine of the cluster has 1 CPUs and 1 GPUs for a task'),
        ('cpu', 3, 'no machine of the cluster has 3 CPUs and 0 GPUs for a task'),
        ('cuda:1', 1, "device 'cuda:1': Ray chooses the GPU of each task; use cuda"),
    ],
)
def test_task_that_no_machine_could_run_is_refused(device, cpus, reason):
    with pytest.raises(BagError, match=reason):
        task_resources(ray, device, cpus)


def test_sigterm_interrupts_as_it_does_without_ray(tmp_path, drives, cluster_address):
    argv = ['segment_bag', str(tmp_path / 'drives'), str(tmp_path / 'out')]
    argv += [f'--ray={cluster_address}', '--checkpoint', 'lite']
    program = f"""
import signal
from fcn_road_seg.__main__ import main
from fcn_road_seg.commands import segment_bags
segment_bags.label_on_ray = lambda *_: signal.raise_signal(signal.SIGTERM)
raise SystemExit(main({argv!r}))
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith('segment_bag: interrupted; the bags in ')
    assert 'SIGTERM' not in done.stderr


def test_missing_ray_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(BagError, match=r"ray cannot be imported .*; pip install 'ray>=2"):
        ray_cluster('auto').__enter__()


# Ray takes a minute to replace the killed.
@pytest.mark.parametrize(('bag_count', 'kills'), [FULL])
def test_killed_tasks_and_driver_leave_each_message_once(
    tmp_path, cluster_address, bag_count, kills
):
    check_survival(tmp_path, bag_count, kills, 'ray::_', cluster_address, psutil.Process())
