import io
import json
import os
import signal
import subprocess
import time
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest

from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.commands import segment_bag
from fcn_road_seg.commands.segment_bags import print_result, threads_of_a_job
from fcn_road_seg.fleet.manifest import FILE_NAME
from fcn_road_seg.fleet.run import RunCounts
from fcn_road_seg.fleet.staging import FOLDER
from fcn_road_seg.model.checkpoint import load_checkpoint
from test.helpers.bag_files import command_line, parsed_messages
from test.helpers.fleet import contents, write_drives

SIZE = ('--input', '32x96')


class Command:
    """Runs the command into folders below `root`; `printed` is what it printed last."""

    def __init__(self, root, checkpoint):
        self.root, self.drives, self._checkpoint = root, root / 'drives', checkpoint
        self.printed = ''
        write_drives(self.drives, 3)

    def __call__(self, name, *argv):
        """Return the line with which the command failed; '' if it did not."""
        line = [*argv, self.root / name, '--checkpoint', self._checkpoint, '--originals', *SIZE]
        told = io.StringIO()
        try:
            with redirect_stdout(told):
                assert segment_bag.main([*map(str, line)]) == 0
        except SystemExit as ended:
            return str(ended)
        finally:
            self.printed = told.getvalue()
        return ''


@pytest.fixture(scope='module')
def command(tmp_path_factory, random_checkpoint_path):
    return Command(tmp_path_factory.mktemp('many'), random_checkpoint_path)


@pytest.fixture(scope='module')
def first_part(command):
    """Segment the first and the third bag, of which the first cannot be read."""
    (command.root / 'one').mkdir()
    for drive in command.drives.iterdir():
        assert command(f'one/{drive.name}', drive) == ''
    (command.drives / 'drive_00/metadata.yaml').write_text('nonsense')
    told = command('out', command.drives, '--jobs', 2, '--shard', '1/2')
    return SimpleNamespace(told=told, printed=command.printed)


def test_failure_is_told_at_the_end_with_its_reason(command, first_part):
    assert first_part.told == "segment_bag: 1 of 2 bags failed; the 'failed:' lines say why"
    counts = '2 bags: 1 written, 0 already there, 1 failed; 4 frames segmented, 0 bad'
    assert counts in first_part.printed
    assert f'failed: {command.drives}/drive_00 is not a readable rosbag2' in first_part.printed


def test_each_failed_bag_is_named_once_and_nothing_in_vain_is_advised(command, first_part):
    told = command('nope', command.drives / 'drive_01', '--topics', '/nope', '--jobs', 1)
    assert told == "segment_bag: 1 of 1 bags failed; the 'failed:' lines say why"
    reason = '/nope has no images; topics with images: /image'
    assert f'failed: {command.drives}/drive_01: {reason}\n' in command.printed
    for printed in (first_part.printed, command.printed):
        (line,) = [line for line in printed.splitlines() if line.startswith('failed: ')]
        assert line.count(str(command.drives)) == 1


def test_reason_of_the_system_is_told_without_its_number(tmp_path, capsys):
    counts = RunCounts(failures={'/drive': '[Errno 28] No space left on device; fix that'})
    with pytest.raises(BagError, match='1 of 1 bags failed'):
        print_result(tmp_path, counts, 1)
    assert 'failed: /drive: No space left on device; fix that\n' in capsys.readouterr().out


def test_manifest_has_checkpoint_options_and_counts(command, first_part, random_checkpoint_path):
    manifest = json.loads((command.root / 'out/drive_02' / FILE_NAME).read_text())
    assert manifest['checkpoint_sha256'] == load_checkpoint(random_checkpoint_path).sha256
    assert manifest['counts']['segmented'] == 4
    asked = {'threshold': None, 'input': [32, 96], 'originals': True, 'device': 'auto'}
    assert asked.items() <= manifest['options'].items()


def test_bag_of_other_options_is_not_replaced(command, first_part):
    told = command('out', command.drives / 'drive_02', '--jobs', 1, '--threshold', 0.7)
    assert told == "segment_bag: 1 of 1 bags failed; the 'failed:' lines say why"
    assert 'drive_02 is from another run (options threshold: None, now 0.7)' in command.printed


def test_rest_is_done_by_another_run_and_all_is_what_one_process_writes(command, first_part):
    assert command('out', command.drives / 'drive_01', command.drives / 'drive_02') == ''
    counts = '2 bags: 1 written, 1 already there, 0 failed; 4 frames segmented'
    assert counts in command.printed
    expected = contents(command.root / 'one')
    del expected['drive_00']
    assert contents(command.root / 'out') == expected
    assert not (command.root / 'out' / FOLDER).exists()


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
    expected = (
        f'interrupted; the bags in {out} are complete; run the same command again to continue'
    )
    assert last == f'segment_bag: {expected}'
    assert not (out / FOLDER).exists()
    for bag in out.iterdir():
        assert len(parsed_messages(bag)['/fcn_road_seg/mask']) == 16


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (('--video', 'video.mp4'), '--video shows one bag; leave it out, or give a single bag'),
        (('--task-frames', '9'), '--task-frames has no effect without --ray; add --ray'),
        (('--jobs', '2', '--checkpoint', '/nowhere.safetensors'), '/nowhere.safetensors does not'),
        (('--grid', '--camera-height', '-1'), 'the camera is -1 m above the ground'),
        (('--device', 'cuda:99'), "device 'cuda:99' "),
    ],
)
def test_what_cannot_be_done_is_one_line_about_all(tmp_path, argv, reason):
    drives = tmp_path / 'drives'
    write_drives(drives, 1)
    with pytest.raises(SystemExit) as caught:
        segment_bag.main([str(drives), str(tmp_path / 'out'), *argv])
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'out').exists() or list((tmp_path / 'out').iterdir()) == []


def test_bag_as_the_folder_for_many_is_refused(command):
    told = command('drives/drive_02', command.drives / 'drive_00', command.drives / 'drive_01')
    assert told.endswith('drive_02 is a bag; with many bags, give a folder for the new ones')


def test_file_as_the_folder_for_many_is_refused(command):
    (command.root / 'masks').touch()
    told = command('masks', command.drives / 'drive_00', command.drives / 'drive_01')
    assert told.endswith('/masks is a file; with many bags, give a folder for the new ones')


def test_mistyped_bag_is_refused_before_the_others_are_done(command):
    told = command('mistyped', command.drives / 'drive_01', command.drives / 'drvie_02')
    assert told.endswith('drives/drvie_02 does not exist; give bags or folders of bags')
    assert not (command.root / 'mistyped').exists()


def test_jobs_and_ray_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        segment_bag.parse_args(['in', 'out', '--jobs', '2', '--ray'])
    assert 'not allowed with argument' in capsys.readouterr().err


def test_shard_that_is_not_k_of_n_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        segment_bag.parse_args(['in', 'out', '--shard', '5/4'])
    assert "--shard: '5/4' is not K/N; use, for example, 1/5" in capsys.readouterr().err


def test_jobs_share_the_threads():
    cores = len(os.sched_getaffinity(0))
    assert threads_of_a_job(8, 2) == 4
    assert threads_of_a_job(1, 2) == 1
    assert threads_of_a_job(0, 2) == max(1, cores // 2)
    # As without --jobs.
    assert threads_of_a_job(0, 1) == 0
