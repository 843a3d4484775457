import resource
import subprocess
import sys

import pytest
import torch

from fcn_road_seg.training.callbacks import weight_average


def test_weight_average_forgets_the_beginning_and_then_holds_its_decay():
    average = weight_average(decay=0.9)._kwargs['avg_fn']
    zero, one = torch.zeros(()), torch.ones(())
    assert average(zero, one, torch.tensor(1)).item() == pytest.approx(9 / 11)
    assert average(zero, one, torch.tensor(1000)).item() == pytest.approx(0.1)
    assert average(one, one, torch.tensor(5)).item() == 1


def test_disk_with_no_room_leaves_the_checkpoint_before_and_says_so(tmp_path):
    path = tmp_path / 'last.ckpt'
    torch.save({'step': 1}, path)
    program = f"""
import torch
from fcn_road_seg.training.callbacks import WholeCheckpoints
WholeCheckpoints().save_checkpoint({{'step': 2, 'weights': torch.zeros(100_000)}}, {str(path)!r})
"""
    ended = subprocess.run(
        [sys.executable, '-c', program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        capture_output=True,
        text=True,
    )
    assert f'TrainingError: {path} cannot be written' in ended.stderr
    assert 'continue with --resume' in ended.stderr
    assert torch.load(path) == {'step': 1}
    assert list(tmp_path.iterdir()) == [path]
