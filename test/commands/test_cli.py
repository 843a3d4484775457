import io
import sys

import pytest

from fcn_road_seg.commands.cli import run_command


def test_path_of_any_bytes_is_printed_as_it_is(monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(printed, 'utf-8', write_through=True))
    assert run_command('command', lambda: print('caf\udce9'), ()) == 0
    assert printed.getvalue() == b'caf\xe9\n'


def test_error_of_the_system_is_told_without_its_number(tmp_path):
    gone = tmp_path / 'gone'
    with pytest.raises(SystemExit) as ended:
        run_command('command', lambda: gone.read_bytes(), (OSError,))
    assert str(ended.value) == f"command: No such file or directory: '{gone}'"


def test_error_of_several_lines_is_one():
    def fail():
        raise ValueError('a\nb: c')

    with pytest.raises(SystemExit, match=r'^command: a b: c$'):
        run_command('command', fail, (ValueError,))
