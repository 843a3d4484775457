"""What all commands share: an error is one line, a signal interrupts, and both set the status."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from io import TextIOWrapper

from fcn_road_seg.commands.ending_signals import interrupt_on_signals
from fcn_road_seg.inference.gpu_errors import GPU_REMEDY, gpu_error_line

INTERRUPTED = 130
# How many of the reasons for bad frames are printed.
ERRORS_SHOWN = 10
# Of packages whose name for pip is not that of their module.
_PIP_NAMES = {'cv2': 'opencv-python-headless', 'PIL': 'pillow', 'yaml': 'PyYAML'}
_ROS_PACKAGE = re.compile(r'rclpy|\w+_(msgs|srvs|interfaces)')


def run_command(
    name: str,
    work: Callable[[], None],
    errors: tuple[type[Exception], ...],
    interrupted: Callable[[], str] = lambda: 'interrupted',
    gpu_remedy: str = GPU_REMEDY,
) -> int:
    """Do `work`; return 0, or INTERRUPTED after an ending signal, saying `NAME: interrupted()`.

    If `work` raises a KeyboardInterrupt with a text, that text is said instead.

    Raises:
        SystemExit: `work` raised one of `errors`, or a GPU failed; its text, after the command's
            name, is one line for the user (with `gpu_remedy`), and the exit status is 1.
    """
    interrupt_on_signals()
    if isinstance(sys.stdout, TextIOWrapper):
        # Paths can have any bytes: those that are not UTF-8 are printed as they are.
        sys.stdout.reconfigure(errors='surrogateescape')
    try:
        work()
    except errors as error:
        raise SystemExit(f'{name}: {without_number(" ".join(str(error).splitlines()))}') from error
    except RuntimeError as error:
        line = gpu_error_line(error, gpu_remedy)
        if line is None:
            raise
        raise SystemExit(f'{name}: {line}') from error
    except KeyboardInterrupt as interrupt:
        print(f'{name}: {str(interrupt) or interrupted()}', file=sys.stderr)
        return INTERRUPTED
    return 0


def without_number(text: str) -> str:
    """Return an error's text without the '[Errno N] ' with which that of an OSError begins."""
    return re.sub(r'\[Errno \d+\] ', '', text)


def missing_package(error: ImportError) -> str:
    """Return the module (its top level) of a package that is not installed; '' for other errors.

    A missing module of this package or of Python itself is such another error: a fault of the
    installation, which pip does not mend.
    """
    name = (error.name or '').partition('.')[0]
    is_package = name not in sys.stdlib_module_names and name != 'fcn_road_seg'
    return name if isinstance(error, ModuleNotFoundError) and is_package else ''


def remedy_for_missing(package: str) -> str:
    """Return what the user can do to get the package of this module."""
    if _ROS_PACKAGE.fullmatch(package):
        return "source ROS 2, or install its wheels: pip install '.[ros]' (docs/node.md)"
    return f'pip install {_PIP_NAMES.get(package, package)}'


def print_bad_frames(errors: Counter[str]) -> None:
    """Print the most frequent reasons why frames are bad, and how many have other reasons."""
    most_frequent = errors.most_common()
    for error, count in most_frequent[:ERRORS_SHOWN]:
        print(f'bad: {count} x {error}')
    if others := sum(count for _, count in most_frequent[ERRORS_SHOWN:]):
        print(f'bad: {others} more')
