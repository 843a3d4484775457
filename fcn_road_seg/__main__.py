"""`fcn-road-seg NAME ...`: the commands of the package, without `ros2 run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from fcn_road_seg.commands.ending_signals import interrupt_on_signals

# Each is the module fcn_road_seg.commands.NAME.
COMMANDS = {
    'segment': 'Run the ROS 2 node.',
    'demo': 'Run camera, node and recorder on this machine; write pictures and a video.',
    'train': 'Train a network and write its checkpoint.',
    'evaluate': 'Measure a checkpoint on labelled frames.',
    'kitti_to_bag': 'Convert a KITTI sequence to a rosbag2.',
    'segment_bag': 'Segment every frame of a rosbag2 into another one.',
    'export_labels': 'Write frames and masks for CVAT or Label Studio, to be corrected.',
    'bench': 'Time the network and the node on this machine.',
    'calibrate': 'Add to a checkpoint what precisions below float32 need.',
    'export': 'Write a checkpoint as an ONNX model.',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, with the other arguments.

    Returns its exit status; 2 for an unknown command. A signal during its imports ends it as it
    does later on: the node with 0, the other commands with INTERRUPTED.

    Raises:
        SystemExit: bad arguments, the command failed, or what it printed could not be written to
            stdout. If a package is missing, the text is one line that says how to get it.
    """
    _open_closed_streams()
    status: object = 1  # also that of an unexpected error
    try:
        status = result = _run(list(sys.argv[1:] if argv is None else argv))
        return result
    except SystemExit as ending:
        status = ending.code
        raise
    finally:
        _flush_stdout(is_failing=bool(status))


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ('-h', '--help'):
        print('usage: fcn-road-seg COMMAND ...\n\nCommands (COMMAND --help shows the options):')
        for name, text in COMMANDS.items():
            print(f'  {name:14}{text}')
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        from fcn_road_seg.utils.nearest_name import did_you_mean

        advice = did_you_mean(argv[0], COMMANDS) or '; fcn-road-seg --help lists the commands'
        print(f'fcn-road-seg: command {argv[0]!r} is unknown{advice}', file=sys.stderr)
        return 2
    # ROS and argparse both read the program's name and arguments from here.
    sys.argv = [f'fcn-road-seg {argv[0]}', *argv[1:]]
    interrupt_on_signals()
    try:
        return import_module(f'fcn_road_seg.commands.{argv[0]}').main() or 0
    except ModuleNotFoundError as error:
        from fcn_road_seg.commands.cli import missing_package, remedy_for_missing

        # Most commands need packages that are in an extra only, or that rosdep does not install.
        package = missing_package(error)
        if not package:
            raise
        # rclpy adds lines of its own where it was built for another Python.
        text = ' '.join(str(error).splitlines())
        raise SystemExit(f'{argv[0]}: {text}; {remedy_for_missing(package)}') from error
    except KeyboardInterrupt:
        # Only during the imports: a command that has begun catches it, and says what it leaves.
        from fcn_road_seg.commands.cli import INTERRUPTED

        return 0 if argv[0] == 'segment' else INTERRUPTED


def _flush_stdout(is_failing: bool) -> None:
    """Write to stdout what was printed; if that fails, end with one line, unless `is_failing`.

    Python itself would do so as it ends, in two lines of its own and with status 120.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        # What stays in the buffer would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not is_failing:
            raise SystemExit(f'fcn-road-seg: stdout: {error.strerror}') from error


def _open_closed_streams() -> None:
    """Open /dev/null in place of the standard streams that are closed (`2>&-`).

    Otherwise tqdm fails without stderr, and what libraries print to such a descriptor goes into
    the file that got it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (until the process ends)


def main_of_script() -> int:
    """Run the command after which the program is named: lib/fcn_road_seg/NAME of a workspace."""
    return main([os.path.basename(sys.argv[0]), *sys.argv[1:]])


if __name__ == '__main__':
    raise SystemExit(main())
