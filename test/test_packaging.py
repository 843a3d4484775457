"""The package as its users get it: built by colcon, and by pip."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile, which
from zipfile import ZipFile

import pytest
import setuptools

from fcn_road_seg import __version__
from fcn_road_seg.__main__ import COMMANDS
from test.helpers.peer import Peer

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
COLCON = which('colcon', path=f'{BIN}{os.pathsep}{os.environ["PATH"]}')
INSTALLED = [
    'launch/kitti_playback.launch.py',
    'launch/segment.launch.py',
    'config/kitti_qos.yaml',
    'config/security_policy.xml',
    'config/segment.yaml',
    'config/segment.rviz',
    'package.xml',
    'weights/LICENSE',
    *(f'weights/{path.name}' for path in (REPOSITORY / 'resource/weights').glob('*.safetensors')),
]

# What pip installs for some commands and the tests, and package.xml does not list.
EXTRAS = {
    *('catkin_pkg', 'h5py', 'lightning', 'ncnn', 'onnx', 'onnxruntime', 'onnxscript', 'openvino'),
    *('ray', 'rosbags', 'ruamel', 'tensorboard', 'torchmetrics', 'uv'),
}

needs_colcon = pytest.mark.skipif(COLCON is None, reason='colcon is not installed')


def run(*command, cwd):
    # colcon calls `python3` by name.
    env = {**os.environ, 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}'}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_checkout(folder):
    """Copy the package, so that nothing is built in the checkout."""
    listed = run('git', 'ls-files', '-co', '--exclude-standard', cwd=REPOSITORY).split('\n')
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copyfile(REPOSITORY / name, folder / name)


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Build a copy of the package in a workspace."""
    root = tmp_path_factory.mktemp('workspace')
    copy_checkout(root / 'src' / 'fcn_road_seg')
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
    # Of the environment in which colcon ran.
    interpreter = executable.read_text().partition('\n')[0].removeprefix('#!')
    assert Path(interpreter).parent == BIN


@needs_colcon
def test_installed_command_that_is_interrupted_while_it_is_imported_has_no_traceback(
    workspace, tmp_path
):
    (tmp_path / 'sitecustomize.py').write_text("""
import signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == 'fcn_road_seg.commands.evaluate':
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
""")
    script = '. "$0/install/setup.sh" && PYTHONPATH="$1:$PYTHONPATH" exec "$0/$2"'
    executable = 'install/fcn_road_seg/lib/fcn_road_seg/evaluate'
    done = subprocess.run(
        ['bash', '-c', script, str(workspace), str(tmp_path), executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, '')


@needs_colcon
def test_colcon_puts_no_command_on_the_path(workspace):
    assert not (workspace / 'install/fcn_road_seg/bin').exists()


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


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Build the wheel that pip installs."""
    if find_spec('uv') is None:
        pytest.skip('uv is not installed')
    folder = tmp_path_factory.mktemp('wheel')
    run(
        *(sys.executable, '-m', 'uv', 'build', '--wheel', '--quiet', '--out-dir', str(folder)),
        cwd=REPOSITORY,
    )
    (path,) = folder.glob('*.whl')
    return path


def test_wheel_holds_the_modules_and_the_weights(wheel):
    names = ZipFile(wheel).namelist()
    for name in INSTALLED:
        assert any(entry.endswith(f'data/share/fcn_road_seg/{name}') for entry in names)
    assert 'fcn_road_seg/ros/node.py' in names
    assert not any(entry.startswith('test/') for entry in names)


def test_pip_installs_one_command_under_a_name_of_its_own(wheel, tmp_path):
    uv = (sys.executable, '-m', 'uv')
    run(*uv, 'venv', '--quiet', '--python', sys.executable, 'venv', cwd=tmp_path)
    scripts = tmp_path / 'venv/bin'
    before = set(scripts.iterdir())
    run(
        *(*uv, 'pip', 'install', '--quiet', '--no-deps', '--offline'),
        *('--python', str(scripts / 'python'), str(wheel)),
        cwd=tmp_path,
    )
    assert [path.name for path in set(scripts.iterdir()) - before] == ['fcn-road-seg']
    assert 'kitti_to_bag' in run(scripts / 'fcn-road-seg', '--help', cwd=tmp_path)


def test_pip_puts_the_command_of_an_editable_installation_where_it_belongs(tmp_path):
    copy_checkout(tmp_path / 'source')
    # With the package wheel, of which setuptools has a copy, pip before 25.3 (such as that of
    # Python 3.11's venv) would run `setup.py develop` if there were no pyproject.toml.
    wheel_package = Path(setuptools.__file__).parent / '_vendor'
    if not (wheel_package / 'wheel').exists():
        pytest.skip('setuptools has no copy of wheel')
    run(
        *('env', f'PYTHONPATH={wheel_package}', sys.executable, '-m', 'pip', 'install'),
        *('--no-deps', '--no-index', '--no-build-isolation', '--prefix', str(tmp_path / 'prefix')),
        *('--editable', str(tmp_path / 'source')),
        cwd=tmp_path,
    )
    assert [path.parent.name for path in tmp_path.rglob('fcn-road-seg')] == ['bin']


@pytest.mark.slow
def test_all_test_modules_load_with_only_what_the_manifest_lists(tmp_path):
    # As under `colcon test`.
    (tmp_path / 'without_extras.py').write_text(f"""
import sys
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] not in {EXTRAS}:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
""")
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'without_extras', '--collect-only', '-qq'],
        cwd=REPOSITORY,
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{REPOSITORY}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'lightning is not installed' in done.stdout
    assert 'test/ros/test_node.py: ' in done.stdout


@pytest.fixture
def manifest():
    """Parse package.xml as colcon and bloom do."""
    package = pytest.importorskip('catkin_pkg.package', reason='catkin_pkg is not installed')
    return package.parse_package(str(REPOSITORY / 'package.xml'))


def test_manifest_is_valid_and_names_licences_url_and_author(manifest):
    warnings = []
    manifest.validate(warnings)
    assert warnings == []
    assert [(str(licence), licence.file) for licence in manifest.licenses] == [
        ('Apache-2.0', 'LICENSE'),
        ('Research and non-commercial use only', 'resource/weights/LICENSE'),
    ]
    assert all((REPOSITORY / licence.file).is_file() for licence in manifest.licenses)
    assert manifest.urls
    assert manifest.authors


def test_manifest_has_no_key_that_rosdep_installs_with_pip(manifest):
    # bloom refuses them.
    kinds = (manifest.build_depends, manifest.exec_depends, manifest.test_depends)
    names = {dependency.name for kind in kinds for dependency in kind}
    assert {'python3-torch', 'python3-torchvision'} <= names
    assert [name for name in names if name.endswith('-pip')] == []


def test_changelog_is_one_that_catkin_tag_changelog_releases(manifest):
    changelog = pytest.importorskip('catkin_pkg.changelog')
    tagging = pytest.importorskip('catkin_pkg.cli.tag_changelog')
    # catkin_pkg needs it.
    from docutils.core import publish_doctree

    text = (REPOSITORY / 'CHANGELOG.rst').read_text()
    # No warning, such as that of a list without a blank line after it.
    publish_doctree(text, settings_overrides={'halt_level': 2})
    label = tagging.get_forthcoming_label(text)
    assert label == 'Forthcoming'
    released = tagging.rename_section(text, label, f'{manifest.version} (2026-01-01)')
    parsed = changelog.populate_changelog_from_rst(changelog.Changelog('fcn_road_seg'), released)
    ((version, _, content),) = parsed.foreach_version()
    assert version == __version__
    assert len(content[0].bullets) > 5
