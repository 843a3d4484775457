import io
import signal
import sys

import pytest

from fcn_road_seg.commands.cli import missing_package, remedy_for_missing, run_command
from fcn_road_seg.commands.ending_signals import interrupt_on_signals


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


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_signal_interrupts_a_command(number):
    def end():
        signal.raise_signal(number)

    # nohup has pytest, too, ignore SIGHUP.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert run_command('command', end, ()) == 130
    finally:
        signal.signal(number, before)


def test_closed_terminal_does_not_end_a_command_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt_on_signals()
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ('module', 'remedy'),
    [
        ('safetensors.numpy', 'pip install safetensors'),
        ('PIL.Image', 'pip install pillow'),
        *(
            (module, "source ROS 2, or install its wheels: pip install '.[ros]' (docs/node.md)")
            for module in ('rclpy.node', 'sensor_msgs.msg', 'rcl_interfaces', 'std_srvs.srv')
        ),
    ],
)
def test_remedy_for_a_missing_module_is_its_package(module, remedy):
    package = missing_package(ModuleNotFoundError(f'No module named {module!r}', name=module))
    assert remedy_for_missing(package) == remedy


@pytest.mark.parametrize(
    'error',
    [
        ModuleNotFoundError(name='fcn_road_seg.gone'),
        # A Python that was compiled without it.
        ModuleNotFoundError(name='_sqlite3'),
        ImportError('libGL.so.1: cannot open shared object file', name='cv2'),
        ImportError('numpy.core.multiarray failed to import'),
    ],
)
def test_import_that_fails_otherwise_does_not_ask_for_a_package(error):
    assert missing_package(error) == ''
