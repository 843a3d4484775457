"""A training as a process that is killed again and again, and resumed each time."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from fcn_road_seg.model.checkpoint import load_checkpoint

TIMEOUT_S = 300.0
# The keys of both sets of weights in last.ckpt: averaged and current.
PARTS = ('state_dict', 'current_model_state')


def start_training(arguments: Sequence[str], out: Path) -> subprocess.Popen[str]:
    """Start a training in `out`, or resume the one that is there."""
    last = out / 'last.ckpt'
    command = [sys.executable, '-m', 'fcn_road_seg', 'train', *arguments, '--out', str(out)]
    if last.exists():
        command += ['--resume', str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(running: subprocess.Popen[str]) -> None:
    output, _ = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0, output


def kill_after_a_checkpoint(arguments: Sequence[str], out: Path, rng: random.Random) -> bool:
    """Kill a training at a random time after its next checkpoint; return whether it still ran."""
    last = out / 'last.ckpt'
    before_ns = last.stat().st_mtime_ns if last.exists() else 0
    running = start_training(arguments, out)
    end_s = time.monotonic() + TIMEOUT_S
    while running.poll() is None and not (last.exists() and last.stat().st_mtime_ns != before_ns):
        assert time.monotonic() < end_s, f'no checkpoint within {TIMEOUT_S} s'
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 1.0))
    was_running = running.poll() is None
    running.kill()
    output, _ = running.communicate()
    assert was_running or running.returncode == 0, output
    return was_running


def assert_same_run(whole: Path, cut: Path) -> None:
    """Assert that weights, optimiser states and networks of two runs are the same to the bit."""
    one, other = (torch.load(run / 'last.ckpt', weights_only=True) for run in (whole, cut))
    assert one['global_step'] == other['global_step']
    for part in PARTS:
        assert one[part].keys() == other[part].keys()
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), name
    moments = [checkpoint['optimizer_states'][0]['state'] for checkpoint in (one, other)]
    for number, state in moments[0].items():
        assert all(torch.equal(state[k], moments[1][number][k]) for k in state), number
    networks = [load_checkpoint(run / 'road_fcn.safetensors') for run in (whole, cut)]
    assert networks[0].sha256 == networks[1].sha256
