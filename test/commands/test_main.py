import os
import subprocess
import sys

import pytest

from fcn_road_seg.__main__ import COMMANDS, main
from test.helpers.kitti_trees import road_folder

LEARNING = 'pip install lightning matplotlib tensorboard torchmetrics'
WHEELS = "source ROS 2, or install its wheels: pip install '.[ros]' (docs/node.md)"


def test_help_lists_every_command(capsys):
    assert main(['--help']) == 0
    printed = capsys.readouterr().out
    assert all(f'  {name} ' in printed for name in COMMANDS)


def test_no_command_lists_the_known_ones_and_fails(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


@pytest.mark.parametrize(
    ('name', 'advice'),
    [
        ('evalute', 'did you mean evaluate?'),
        ('segment-bag', 'did you mean segment_bag?'),
        ('fly', 'fcn-road-seg --help lists the commands'),
    ],
)
def test_unknown_command_is_told_in_one_line_with_the_nearest_or_the_list(name, advice, capsys):
    assert main([name, '--help']) == 2
    printed = capsys.readouterr()
    assert printed.err == f"fcn-road-seg: command '{name}' is unknown; {advice}\n"
    assert printed.out == ''


@pytest.mark.parametrize('signal_name', ['SIGINT', 'SIGTERM'])
@pytest.mark.parametrize(
    ('command', 'module', 'status', 'said'),
    [
        ('evaluate', 'fcn_road_seg.commands.evaluate', 130, ''),
        ('segment', 'rclpy', 0, ''),
        ('train', 'numpy', 130, ''),
        ('train', 'lightning', 130, 'train: interrupted\n'),
    ],
)
def test_signal_while_a_command_is_imported_ends_it_without_a_traceback(
    command, module, status, said, signal_name, tmp_path
):
    arguments = ['--rendered', '4', '--out', str(tmp_path)] if command == 'train' else []
    program = f"""
import signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.{signal_name})

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from fcn_road_seg.__main__ import main
raise SystemExit(main([{command!r}, *{arguments!r}]))
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, '', said)


def test_closed_standard_streams_do_not_stop_a_command(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    road = road_folder(tmp_path)
    command = [sys.executable, '-m', 'fcn_road_seg', 'kitti_to_bag', road, tmp_path / 'bag']
    done = subprocess.run(['sh', '-c', '"$@" <&- >&- 2>&-', 'sh', *command])
    assert done.returncode == 0
    assert (tmp_path / 'bag/metadata.yaml').is_file()


@pytest.mark.parametrize(
    ('argv', 'status', 'said'),
    [
        (['train', '--help'], 1, 'fcn-road-seg: stdout: No space left on device\n'),
        (['--help'], 1, 'fcn-road-seg: stdout: No space left on device\n'),
        ([], 2, ''),
    ],
)
def test_full_stdout_is_told_in_one_line_unless_the_command_has_failed(argv, status, said):
    command = [sys.executable, '-m', 'fcn_road_seg', *argv]
    # With a buffer, as for users: Python would write to stdout only as it ends.
    environment = {**os.environ, 'PYTHONUNBUFFERED': ''}
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_command_explains_itself(command):
    done = subprocess.run(
        [sys.executable, '-m', 'fcn_road_seg', command, '--help'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'usage: {command}' in done.stdout


@pytest.mark.parametrize(
    ('argv', 'package', 'remedy'),
    [
        (['train', '--rendered', '1', '--weights', 'none'], 'lightning', LEARNING),
        (['train', '--rendered', '1', '--weights', 'none'], 'torchmetrics', LEARNING),
        (['train', '--rendered', '1'], 'safetensors', 'pip install safetensors'),
        (['evaluate', '--rendered', '1'], 'matplotlib', 'pip install matplotlib'),
        (['evaluate', '--rendered', '1'], 'torch', 'pip install torch'),
        (['segment'], 'rclpy', WHEELS),
    ],
)
def test_command_without_a_package_says_in_one_line_what_to_install(
    argv, package, remedy, tmp_path
):
    program = (
        f'import sys; sys.modules[{package!r}] = None\n'
        f'from fcn_road_seg.__main__ import main; main([*{argv!r}, "--out", {str(tmp_path)!r}])'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'{argv[0]}: ')
    assert line.endswith(f'; {remedy}')
