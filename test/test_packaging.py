"""The package as its users get it: built by colcon, and by pip."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copyfile, which

import pytest

from fcn_road_seg.__main__ import COMMANDS
from fcn_road_seg.model.checkpoint import DEFAULT_NAME
from test.helpers.peer import Peer

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
COLCON = which('colcon', path=f'{BIN}{os.pathsep}{os.environ["PATH"]}')
INSTALLED = [
    'launch/kitti_playback.launch.py',
    'launch/segment.launch.py',
    'config/kitti_qos.yaml',
    'config/segment.yaml',
    'config/segment.rviz',
    'package.xml',
    f'weights/{DEFAULT_NAME}',
]

needs_colcon = pytest.mark.skipif(COLCON is None, reason='colcon is not installed')


def run(*command, cwd):
    # colcon calls `python3` by name.
    env = {**os.environ, 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Build a copy of the package in a workspace, so that nothing is built in the checkout."""
    root = tmp_path_factory.mktemp('workspace')
    source = root / 'src' / 'fcn_road_seg'
    source.mkdir(parents=True)
    listed = run('git', 'ls-files', '-co', '--exclude-standard', cwd=REPOSITORY).split('\n')
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(REPOSITORY / name, source / name)
    run(COLCON, 'build', cwd=root)
    return root


@needs_colcon
def test_colcon_sees_an_ament_python_package(workspace):
    listed = run(COLCON, 'list', cwd=workspace).split()
    assert listed == ['fcn_road_seg', 'src/fcn_road_seg', '(ros.ament_python)']


@needs_colcon
def test_colcon_installs_launch_config_weights_and_the_index_entry(workspace):
    prefix = workspace / 'install' / 'fcn_road_seg'
    for name in INSTALLED:
        assert (prefix / 'share' / 'fcn_road_seg' / name).is_file()
    assert (prefix / 'share/ament_index/resource_index/packages/fcn_road_seg').is_file()


@needs_colcon
@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_colcon_installs_an_executable_that_ros2_run_finds(workspace, name):
    executable = workspace / 'install/fcn_road_seg/lib/fcn_road_seg' / name
    assert os.access(executable, os.X_OK)


@needs_colcon
def test_node_runs_from_the_install_space_with_the_installed_weights(workspace, start_node):
    script = 'cd / && . "$0/install/setup.sh" && exec "$0/$1" "${@:2}"'
    node = start_node(
        *('-r', '__ns:=/installed', '-p', 'input_reliability:=reliable'),
        command=(
            *('bash', '-c', script, str(workspace)),
            'install/fcn_road_seg/lib/fcn_road_seg/segment',
        ),
    )
    peer = Peer(namespace='installed')
    peer.connect()
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    assert f'{workspace}/install/fcn_road_seg/share/fcn_road_seg/weights/' in node.log


def test_wheel_holds_the_modules_and_the_weights(tmp_path):
    run(
        *(sys.executable, '-m', 'uv', 'build', '--wheel', '--quiet', '--out-dir', str(tmp_path)),
        cwd=REPOSITORY,
    )
    (wheel,) = tmp_path.glob('*.whl')
    names = run(sys.executable, '-m', 'zipfile', '-l', str(wheel), cwd=tmp_path)
    for name in INSTALLED:
        assert f'data/share/fcn_road_seg/{name}' in names
    assert 'fcn_road_seg/node.py' in names
    assert 'test/' not in names
