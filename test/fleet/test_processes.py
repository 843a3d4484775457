import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial

import psutil
import pytest

from fcn_road_seg.fleet.labeller import MAX_ATTEMPTS, Labeller, Outcome, Progress
from fcn_road_seg.fleet.processes import label_in_processes
from test.helpers.chaos import KILLS, check_survival
from test.helpers.fleet import contents, jobs_of, write_drives
from test.helpers.grey_segmenter import LostGpu, grey_assignment


@pytest.fixture
def drives(tmp_path):
    return write_drives(tmp_path / 'drives', 4)


def children():
    found = []
    for child in psutil.Process().children():
        # What another test has killed and not waited for has no command line.
        with suppress(psutil.ZombieProcess):
            if 'spawn_main' in ' '.join(child.cmdline()):
                found.append(child)
    return found


def test_bags_are_those_of_one_process_whoever_writes_them(tmp_path, drives):
    expected = Labeller(grey_assignment(tmp_path / 'one'))
    for job in jobs_of(drives, tmp_path / 'one'):
        expected.label(job)
    out = tmp_path / 'out'
    events = label_in_processes(grey_assignment(out), jobs_of(drives, out), 2)
    outcomes = [event for event in events if isinstance(event, Outcome)]
    assert sorted(outcome.job.out.name for outcome in outcomes) == [d.name for d in drives]
    assert contents(out) == contents(tmp_path / 'one')


def test_progress_of_a_bag_is_told_before_its_end(tmp_path):
    (drive,) = write_drives(tmp_path / 'drives', 1, frames=8)
    jobs = jobs_of([drive], tmp_path)
    *told, outcome = label_in_processes(grey_assignment(tmp_path, pause_s=0.2), jobs, 1)
    assert outcome.manifest['counts']['segmented'] == 8
    frames = [event.frames for event in told]
    assert len(frames) >= 2
    assert frames == sorted(set(frames))


def test_bag_that_cannot_be_read_fails_alone(tmp_path, drives):
    (drives[1] / 'metadata.yaml').write_text('nonsense')
    events = label_in_processes(grey_assignment(tmp_path), jobs_of(drives, tmp_path), 1)
    errors = [event.error for event in events if isinstance(event, Outcome)]
    assert [bool(error) for error in errors] == [False, True, False, False]
    assert 'drive_01 is not a readable rosbag2' in errors[1]


def test_bag_whose_output_cannot_be_written_is_to_be_run_again(tmp_path, drives):
    (tmp_path / 'file').touch()
    out = tmp_path / 'file/out'
    (outcome,) = label_in_processes(grey_assignment(out), jobs_of(drives[:1], out), 1)
    assert 'Not a directory' in outcome.error
    assert outcome.error.endswith('; fix that and run the command again')


def test_bag_on_a_failed_gpu_is_not_tried_again_and_another_process_does_the_next(
    tmp_path, drives
):
    lost = partial(LostGpu, tmp_path / 'lost')
    assignment = replace(grey_assignment(tmp_path), make_segmenter=lost)
    events = label_in_processes(assignment, jobs_of(drives[:2], tmp_path), 1)
    errors = [event.error for event in events if isinstance(event, Outcome)]
    remedy = 'use --device cpu, a smaller --input or another --precision'
    assert errors == [f'CUDA out of memory; {remedy}', '']


def test_worker_that_cannot_start_says_why(tmp_path, drives):
    assignment = grey_assignment(tmp_path, sha256='other')
    event = next(label_in_processes(assignment, jobs_of(drives, tmp_path), 1))
    assert event.is_fatal
    assert 'the checkpoint is other here' in event.error


def test_killed_workers_are_replaced(tmp_path, drives):
    out = tmp_path / 'out'
    jobs = jobs_of(drives, out)
    killed, outcomes = [], Counter()
    # One second for each bag, and a word of it after half.
    for event in label_in_processes(grey_assignment(out, pause_s=0.25), jobs, 2):
        if isinstance(event, Outcome):
            outcomes[event.job] += event.manifest is not None
        elif event.frames and len(killed) < 2:
            killed.append(children()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)
    assert len(killed) == 2
    assert outcomes == Counter(jobs)
    assert all(len(messages) == 8 for messages in contents(out).values())


def test_bag_that_kills_every_worker_is_given_up_and_the_others_done(tmp_path, drives):
    jobs = jobs_of(drives[:2], tmp_path)
    errors, kills = {}, 0
    for event in label_in_processes(grey_assignment(tmp_path, pause_s=0.25), jobs, 1):
        if isinstance(event, Progress) and event.job == jobs[0] and event.frames:
            os.kill(children()[0].pid, signal.SIGKILL)
            kills += 1
        elif isinstance(event, Outcome):
            errors[event.job] = event.error
    assert kills == MAX_ATTEMPTS
    assert f'its process died {MAX_ATTEMPTS} times' in errors[jobs[0]]
    assert 'use fewer --jobs, or free some memory, and run the command again' in errors[jobs[0]]
    assert errors[jobs[1]] == ''


def test_workers_end_with_the_run(tmp_path, drives):
    events = label_in_processes(grey_assignment(tmp_path, pause_s=5), jobs_of(drives, tmp_path), 2)
    next(events)
    workers = children()
    assert len(workers) == 2
    events.close()
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.parametrize(('bag_count', 'kills'), KILLS)
def test_killed_processes_and_driver_leave_each_message_once(tmp_path, bag_count, kills):
    check_survival(tmp_path, bag_count, kills, 'spawn_main')
