"""The Makefile, run by make in a folder of its own; nothing is installed."""

import os
import re
import subprocess
from pathlib import Path
from shutil import copy, which

import pytest

REPOSITORY = Path(__file__).parents[1]
# MAKEFLAGS has the variables of `make test VENV=folder`: a test's make would remove the
# environment that runs the test. With MAKELEVEL, a make prints its folder.
FROM_OUTSIDE = ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'ROS_DISTRO', 'VENV')
# The module that each target runs.
RUNS = {'demo': 'fcn_road_seg', 'test': 'pytest', 'stress': 'pytest', 'lint': 'mypy'}
# Stands for python3: `-m venv FOLDER` makes an interpreter that does nothing.
PYTHON3 = """#!/bin/sh
test "$1 $2" = '-m venv' || exit 0
mkdir -p "$3/bin" && printf '#!/bin/sh\\n' > "$3/bin/python" && chmod +x "$3/bin/python"
test ! -e venv_fails
"""

pytestmark = pytest.mark.skipif(which('make') is None, reason='make is not installed')


@pytest.fixture
def checkout(tmp_path):
    for name in ('Makefile', 'setup.py'):
        copy(REPOSITORY / name, tmp_path)
    python3 = tmp_path / 'python3'
    python3.write_text(PYTHON3)
    python3.chmod(0o755)
    return tmp_path


def make(checkout, target, **variables):
    """Run make with exported variables; return what it printed, for a failure its errors."""
    env = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
    env |= {'PYTHON3': './python3', **variables}
    done = subprocess.run(['make', target], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 2)
    return done.stdout if done.returncode == 0 else f'failed: {done.stderr}'


def test_variables_of_the_make_that_runs_the_tests_have_no_effect_on_theirs(checkout, monkeypatch):
    monkeypatch.setenv('MAKEFLAGS', ' -- VENV=elsewhere')
    monkeypatch.setenv('MAKELEVEL', '1')
    assert make(checkout, 'python') == f'{checkout}/.venv/bin/python\n'


@pytest.mark.parametrize('target', ['python', 'clean'])
def test_folder_of_another_tool_is_refused_and_kept(checkout, target):
    own_file = checkout / 'elsewhere/bin/activate'
    own_file.parent.mkdir(parents=True)
    own_file.write_text('precious')
    printed = make(checkout, target, VENV='elsewhere')
    assert 'make: this Makefile did not make elsewhere; run make with VENV=NEW_FOLDER' in printed
    assert own_file.read_text() == 'precious'


@pytest.mark.parametrize('venv', ['', 'new', 'empty'])
def test_environment_is_made_in_a_new_folder(checkout, venv):
    (checkout / 'empty').mkdir()
    folder = checkout / (venv or '.venv')
    assert make(checkout, 'python', VENV=venv) == f'{folder}/bin/python\n'
    (folder / 'kept').touch()
    assert make(checkout, 'python', VENV=venv) == f'{folder}/bin/python\n'
    assert (folder / 'kept').exists()


def test_clean_removes_the_environment(checkout):
    make(checkout, 'python', VENV='new')
    assert make(checkout, 'clean', VENV='new') == ''
    assert not (checkout / 'new').exists()


def test_unfinished_environment_is_made_again(checkout):
    (checkout / 'venv_fails').touch()
    assert 'the venv module is missing' in make(checkout, 'python')
    (checkout / '.venv/left').touch()
    (checkout / 'venv_fails').unlink()
    assert make(checkout, 'python') == f'{checkout}/.venv/bin/python\n'
    assert not (checkout / '.venv/left').exists()


@pytest.mark.parametrize('target', ['demo', 'test', 'stress', 'lint'])
def test_folder_of_the_checkout_may_have_a_space_and_an_apostrophe_in_its_name(checkout, target):
    folder = checkout / "Ada's projects"
    folder.mkdir()
    for name in ('Makefile', 'setup.py', 'python3'):
        copy(checkout / name, folder)
    python = Path(make(folder, 'python').rstrip())
    python.write_text('#!/bin/sh\necho "runs: $2"\n')
    assert f'runs: {RUNS[target]}\n' in make(folder, target)


def test_demo_gets_paths_with_a_space_and_an_apostrophe(checkout):
    python = Path(make(checkout, 'python').rstrip())
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    printed = make(checkout, 'demo', IMAGES="/data/Ada's drive", OUT="Ada's out", FRAMES='7')
    assert printed.splitlines()[2:] == [
        *('demo', '--out', "Ada's out", '--images', "/data/Ada's drive", '--frames', '7')
    ]


def test_packages_are_compiled_once(checkout):
    python = Path(make(checkout, 'python').rstrip())
    python.write_text('#!/bin/sh\necho "compiles: $PYTHONDONTWRITEBYTECODE"\n')
    printed = make(checkout, 'demo', PYTHONDONTWRITEBYTECODE='1')
    assert printed == 'compiles: \n'


def test_readme_says_of_each_command_what_the_makefile_says():
    said = dict(re.findall(r'^make (\w+) +# (.*)$', (REPOSITORY / 'README.md').read_text(), re.M))
    helped = dict(re.findall(r'^# make (\w+) +(.*)$', (REPOSITORY / 'Makefile').read_text(), re.M))
    assert said == {name: helped[name] for name in ('demo', 'test')}
