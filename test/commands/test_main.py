import subprocess
import sys

import pytest

from fcn_road_seg.__main__ import COMMANDS, main


def test_help_lists_every_command(capsys):
    assert main(['--help']) == 0
    printed = capsys.readouterr().out
    assert all(f'  {name} ' in printed for name in COMMANDS)


@pytest.mark.parametrize('argv', [[], ['fly']])
def test_unknown_command_lists_the_known_ones_and_fails(argv, capsys):
    assert main(argv) == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


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
    ('argv', 'package'),
    [
        (['train', '--rendered', '1', '--weights', 'none'], 'lightning'),
        (['train', '--rendered', '1', '--weights', 'none'], 'torchmetrics'),
        (['evaluate', '--rendered', '1'], 'matplotlib'),
    ],
)
def test_command_without_its_extra_says_in_one_line_what_to_install(argv, package, tmp_path):
    program = (
        f'import sys; sys.modules[{package!r}] = None\n'
        f'from fcn_road_seg.__main__ import main; main([*{argv!r}, "--out", {str(tmp_path)!r}])'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'{argv[0]}: ')
    assert package in line.partition('; pip install ')[2]
