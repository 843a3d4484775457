"""Fixtures that several test modules share."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest
import torch

from fcn_road_seg.model import shipped_checkpoints
from fcn_road_seg.model.checkpoint import Checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.utils.cpu_features import usable_cpus

LAUNCH_TEST = 'test_segment_launch.py'


def _module_of(name: str, parent: pytest.Collector, **where: object) -> pytest.Module | None:
    """Return pytest's own module for every test file but the launch test.

    launch_testing, whose plugin pytest loads if a ROS 2 is sourced, imports every module to look
    for launch tests; a module that skips itself would then skip its whole folder.
    """
    if name == LAUNCH_TEST or not name.startswith('test_'):
        return None
    return pytest.Module.from_parent(parent, **where)


if hasattr(pytest, 'version_tuple'):

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        return _module_of(module_path.name, parent, path=module_path)

else:  # Humble's pytest 6.

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(path, parent):
        return _module_of(path.basename, parent, fspath=path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of test processes for `-n auto`.

    One more than there are cores, as tests partly wait for other processes; at most 4, to fit into
    the memory of a small machine.
    """
    return min(len(usable_cpus()) + 1, 4)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    report = outcome.get_result()
    # pytest-xdist cannot send printed text that contains a path that is not UTF-8.
    report.sections = [
        (title, text.encode(errors='backslashreplace').decode()) for title, text in report.sections
    ]


@pytest.fixture(autouse=True, scope='session')
def _own_ros_domain() -> Iterator[None]:
    # Tests must not hear, nor be heard by, a vehicle (mostly in domain 0) or another test run on
    # this machine. The ports of domains 102 to 214 are in Linux's ephemeral range.
    for number in range(os.getpid(), os.getpid() + 101):
        domain = str(1 + number % 101)
        try:
            with Path(gettempdir(), f'fcn_road_seg_test_domain_{domain}').open('a') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.environ['ROS_DOMAIN_ID'] = domain
                os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
                yield
                return
        except (BlockingIOError, PermissionError):
            continue  # Another run, perhaps of another user, has this domain.
    pytest.fail('all ROS domains of tests are taken by other test runs')


@pytest.fixture(autouse=True, scope='session')
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))


def _random_network(width: float) -> RoadFCN:
    """Return an FCN-8 on vgg16 whose batch norm statistics are not trivial."""
    torch.manual_seed(1)
    model = RoadFCN(RoadFCNConfig(width=width))
    for norm in model.decoder.norms:
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2.0)
    return model.eval().requires_grad_(False)


def _saved(checkpoint: Checkpoint, path: Path) -> Path:
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture(scope='session')
def random_model() -> RoadFCN:
    """A narrow network, since most tests need any network, and this one is quick."""
    return _random_network(0.25)


@pytest.fixture(scope='session')
def wide_checkpoint() -> Checkpoint:
    """For tests of what a network of width 1 takes: memory, work, time."""
    return Checkpoint(_random_network(1.0), InputRule(pixels=64 * 96))


@pytest.fixture(scope='session')
def wide_checkpoint_path(
    wide_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _saved(wide_checkpoint, tmp_path_factory.mktemp('checkpoint') / 'wide.safetensors')


@pytest.fixture(scope='session')
def random_checkpoint(random_model: RoadFCN) -> Checkpoint:
    return Checkpoint(random_model, InputRule(pixels=64 * 96))


@pytest.fixture(scope='session')
def random_checkpoint_path(
    random_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return _saved(random_checkpoint, tmp_path_factory.mktemp('checkpoint') / 'random.safetensors')


@pytest.fixture
def installed_lite(
    random_checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Install, for this process, the random checkpoint as the one called lite; return its file."""
    path = tmp_path / 'resource/weights' / shipped_checkpoints.FILE_NAMES['lite']
    path.parent.mkdir(parents=True)
    path.symlink_to(random_checkpoint_path)
    monkeypatch.setattr(shipped_checkpoints, '__file__', str(tmp_path / 'a/module.py'))
    return path


@dataclass
class NodeProcess:
    """A running `segment`; `log` holds all that it printed, once it has ended."""

    process: subprocess.Popen[bytes]
    log_path: Path
    log: str = ''

    def end(self, signal_number: int, timeout_s: float) -> int:
        """Send a signal and return the exit status; fail if the process takes too long."""
        self.process.send_signal(signal_number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        status = self.process.wait(timeout_s)
        self.log = self.log_path.read_text(errors='backslashreplace')
        return status


@contextmanager
def node_starter() -> Iterator[Callable[..., NodeProcess]]:
    """Yield a function that starts the real node in its own process; kill all nodes afterwards."""
    started: list[NodeProcess] = []

    def start(*ros_args: str, command: tuple[str, ...] = ()) -> NodeProcess:
        command = command or (sys.executable, '-m', 'fcn_road_seg', 'segment')
        # No pipe: unless it is read, it would block the node after 64 KiB of libjpeg's warnings.
        log_path = Path(folder) / f'{len(started)}.log'
        with log_path.open('wb') as log:
            process = subprocess.Popen(
                [*command, '--ros-args', *ros_args], stdout=log, stderr=subprocess.STDOUT
            )
        started.append(NodeProcess(process, log_path))
        return started[-1]

    with TemporaryDirectory() as folder:
        yield start
        for node in started:
            node.process.kill()
            node.process.wait()


@pytest.fixture
def start_node() -> Iterator[Callable[..., NodeProcess]]:
    """Start a node for one test: `start_node('-p', 'device:=cpu')`."""
    with node_starter() as start:
        yield start


@pytest.fixture
def connected(start_node: Callable[..., NodeProcess]) -> Iterator[Callable[..., tuple]]:
    """Start a node and connect a peer: `node, peer = connected('-p', 'device:=cpu')`."""
    from test.helpers.peer import Peer

    peers = []

    def connect(*ros_args: str, command: tuple[str, ...] = (), **peer_args: object) -> tuple:
        node = start_node('-p', 'input_reliability:=reliable', *ros_args, command=command)
        peers.append(Peer(**peer_args))
        peers[-1].connect()
        return node, peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture(scope='module')
def start_module_node() -> Iterator[Callable[..., NodeProcess]]:
    """Start a node for all tests of a module: loading the network takes seconds."""
    with node_starter() as start:
        yield start
