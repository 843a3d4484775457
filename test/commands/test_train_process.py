import random
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.utils.cpu_features import has_exact_int8
from test.helpers.easy_data import TINY
from test.helpers.killed_training import (
    assert_same_run,
    finish,
    kill_after_a_checkpoint,
    start_training,
)

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')


@pytest.fixture(scope='module')
def arguments(easy_data):
    """The arguments of a run of eight steps."""
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    return [*arguments, '--steps', '8', '--val-every', '2']


@pytest.fixture(scope='module')
def unbroken(arguments, tmp_path_factory):
    """The folder of a run that nobody ends, and what it writes to stderr."""
    out = tmp_path_factory.mktemp('unbroken')
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *arguments, '--out', str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stderr


def test_lightning_warns_of_nothing_and_advertises_nothing(unbroken):
    _, printed = unbroken
    lines = [line for line in printed.splitlines() if line and 'frame/s' not in line]
    said = [line for line in lines if not line.startswith('train: ')]
    assert len(said) <= 2, said
    assert said[0].startswith('GPU available: ')
    assert 'stopped' in said[-1]


def test_killed_training_resumes_to_the_weights_of_an_unbroken_one(unbroken, arguments, tmp_path):
    whole, _ = unbroken
    assert kill_after_a_checkpoint(arguments, tmp_path, random.Random(1))
    # As if it had been killed while it wrote.
    for name in ('last.ckpt', 'curves.png'):
        (tmp_path / f'{name}.abcdefgh.part').write_bytes(b'half')
    finish(start_training(arguments, tmp_path))
    assert_same_run(whole, tmp_path)
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize(
    ('number', 'devices'), [(signal.SIGINT, '1'), (signal.SIGTERM, '1'), (signal.SIGTERM, '2')]
)
def test_interrupted_training_says_in_one_line_how_to_continue(
    easy_data, tmp_path, number, devices
):
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *TINY, '--data', str(easy_data)]
    command += ['--crop', '32x32', '--steps', '100000', '--val-every', '1', '--out', str(tmp_path)]
    # All processes have stderr: it is at its end when the last one has ended.
    running = subprocess.Popen([*command, '--devices', devices], stderr=subprocess.PIPE, text=True)
    last = tmp_path / 'last.ckpt'
    end_s = time.monotonic() + 120
    while not last.exists() and running.poll() is None and time.monotonic() < end_s:
        time.sleep(0.1)
    # Several processes are in the middle of their exchanges by then.
    time.sleep(1)
    running.send_signal(number)
    try:
        _, printed = running.communicate(timeout=60)
    finally:
        # A run that ignores the signal would go on beside all later tests.
        running.kill()
    assert running.returncode == 130
    said = printed.splitlines()[-1]
    assert re.fullmatch(
        rf'train: interrupted at step \d+; continue with --resume {re.escape(str(last))}', said
    )
    assert 'Traceback' not in printed
    assert torch.load(last, weights_only=True)['global_step'] >= 1


def test_two_processes_train_one_network(easy_data, tmp_path):
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *TINY, '--data', str(easy_data)]
    command += ['--crop', '32x32', '--batch', '2', '--steps', '2', '--val-every', '2']
    command += ['--devices', '2', '--out', str(tmp_path)]
    command += ['--strategy', 'ddp_find_unused_parameters_true', '--workers', '1']
    command += ['--teacher', 'lite']
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    if has_exact_int8() and find_spec('openvino'):
        assert ended.stdout.count('the teacher computes in int8') == 1
    assert 'distributed_backend=gloo' in ended.stderr
    # PyTorch's word on that strategy.
    assert 'find_unused_parameters=True was specified' in ended.stderr
    checkpoint = load_checkpoint(tmp_path / 'road_fcn.safetensors')
    assert 0 <= checkpoint.provenance.metrics[easy_data.name]['iou'] <= 1
    saved = torch.load(tmp_path / 'last.ckpt', weights_only=True)
    assert saved['global_step'] == 2
