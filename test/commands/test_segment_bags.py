import argparse
import json
import os
import signal
import subprocess
import time

import pytest

from fcn_road_seg.commands import segment_bag
from fcn_road_seg.commands.segment_bags import shard, threads_of_a_job
from fcn_road_seg.fleet.manifest import FILE_NAME
from fcn_road_seg.fleet.staging import FOLDER
from fcn_road_seg.model.checkpoint import load_checkpoint
from test.helpers.bag_files import command_line, parsed_messages
from test.helpers.fleet import contents, write_drives

SIZE = ('--input', '32x96')


@pytest.fixture
def drives(tmp_path):
    write_drives(tmp_path / 'drives', 3)
    return tmp_path / 'drives'


@pytest.fixture
def run(tmp_path, random_checkpoint_path):
    """Run the command into tmp_path/OUT: `run('out', bag, '--originals')`; return its line."""

    def run(name, *argv):
        out, checkpoint = str(tmp_path / name), str(random_checkpoint_path)
        try:
            line = [*map(str, argv), out, '--checkpoint', checkpoint, '--originals', *SIZE]
            assert segment_bag.main(line) == 0
        except SystemExit as ended:
            return str(ended)
        return ''

    return run


def test_parts_and_jobs_write_what_one_process_writes(tmp_path, run, drives, capsys):
    (tmp_path / 'one').mkdir()
    for drive in drives.iterdir():
        assert run(f'one/{drive.name}', drive) == ''
    capsys.readouterr()
    (drives / 'drive_00/metadata.yaml').write_text('nonsense')
    # The first and the third; the first cannot be read.
    told = run('out', drives, '--jobs', 2, '--shard', '1/2')
    assert told == 'segment_bag: 1 of 2 bags failed; run it again to retry'
    printed = capsys.readouterr().out
    assert '2 bags: 1 written, 0 already there, 1 failed; 4 frames segmented, 0 bad' in printed
    assert f'failed: {drives}/drive_00: {drives}/drive_00 is not a readable rosbag2' in printed
    assert run('out', drives / 'drive_01', drives / 'drive_02') == ''
    printed = capsys.readouterr().out
    assert '2 bags: 1 written, 1 already there, 0 failed; 4 frames segmented' in printed
    expected = contents(tmp_path / 'one')
    del expected['drive_00']
    assert contents(tmp_path / 'out') == expected
    assert not (tmp_path / 'out' / FOLDER).exists()


def test_manifest_has_checkpoint_options_and_counts(tmp_path, run, drives, random_checkpoint_path):
    assert run('out', drives / 'drive_00', '--jobs', 1, '--threshold', 0.6) == ''
    manifest = json.loads((tmp_path / 'out/drive_00' / FILE_NAME).read_text())
    assert manifest['checkpoint_sha256'] == load_checkpoint(random_checkpoint_path).sha256
    assert manifest['counts']['segmented'] == 4
    asked = {'threshold': 0.6, 'input': [32, 96], 'originals': True, 'device': 'auto'}
    assert asked.items() <= manifest['options'].items()
    # Before a network is loaded.
    told = run('out', drives / 'drive_00', '--jobs', 1, '--threshold', 0.7)
    assert told == 'segment_bag: 1 of 1 bags failed; run it again to retry'


def test_interrupt_leaves_whole_bags_only(tmp_path, random_checkpoint_path):
    drives = tmp_path / 'drives'
    write_drives(drives, 2, frames=16)
    out = tmp_path / 'out'
    argv = (drives, out, '--checkpoint', random_checkpoint_path)
    process = subprocess.Popen(
        command_line('segment_bag', *argv), stderr=subprocess.PIPE, text=True
    )
    while not any((out / FOLDER).glob('*/*.part/*/*.mcap')):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    expected = f'interrupted; the bags in {out} are whole; run it again to continue'
    assert last == f'segment_bag: {expected}'
    assert not (out / FOLDER).exists()
    for bag in out.iterdir():
        assert len(parsed_messages(bag)['/fcn_road_seg/mask']) == 16


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (('--video', 'video.mp4'), '--video shows one bag; leave it out'),
        (('--task-frames', '9'), '--task-frames splits the tasks of --ray; add --ray'),
        (('--jobs', '2', '--checkpoint', '/nowhere.safetensors'), '/nowhere.safetensors does not'),
        (('--grid', '--camera-height', '-1'), 'the camera is -1 m above the ground'),
        (('--device', 'cuda:99'), "device 'cuda:99' "),
    ],
)
def test_what_cannot_be_done_is_one_line_about_all(tmp_path, drives, argv, reason):
    with pytest.raises(SystemExit) as caught:
        segment_bag.main([str(drives), str(tmp_path / 'out'), *argv])
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'out').exists() or list((tmp_path / 'out').iterdir()) == []


def test_bag_as_the_folder_for_many_is_refused(drives, run):
    told = run('drives/drive_02', drives / 'drive_00', drives / 'drive_01')
    assert told.endswith('drive_02 is a bag; with many bags, OUT is a folder for theirs')


def test_jobs_and_ray_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        segment_bag.parse_args(['in', 'out', '--jobs', '2', '--ray'])
    assert 'not allowed with argument' in capsys.readouterr().err


def test_shard_is_k_of_n():
    assert shard('3/40') == (3, 40)


@pytest.mark.parametrize('text', ['0/4', '5/4', '4', '1/', '-1/4', 'a/b'])
def test_shard_that_is_not_k_of_n_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not K/N; use, for example, 1/5'):
        shard(text)


def test_jobs_share_the_threads():
    cores = len(os.sched_getaffinity(0))
    assert threads_of_a_job(8, 2) == 4
    assert threads_of_a_job(1, 2) == 1
    assert threads_of_a_job(0, 2) == max(1, cores // 2)
    # As without --jobs.
    assert threads_of_a_job(0, 1) == 0
