"""A training that is killed with SIGKILL, over and over."""

import random

import pytest

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from test.helpers.easy_data import TINY, write_easy_data
from test.helpers.killed_training import (
    assert_same_run,
    finish,
    kill_after_a_checkpoint,
    start_training,
)

pytestmark = pytest.mark.stress


def test_training_killed_at_any_moment_ends_with_the_weights_of_an_unbroken_one(
    times, report, tmp_path
):
    data = tmp_path / 'data'
    data.mkdir()
    arguments = [*TINY, '--data', str(write_easy_data(data)), '--crop', '32x32', '--batch', '2']
    # More validations than kills: each resumed run reaches one.
    kills = times(20)
    arguments += ['--val-every', '2', '--steps', str(20 * kills)]
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    finish(start_training(arguments, whole))
    rng = random.Random(0)
    killed = sum(kill_after_a_checkpoint(arguments, cut, rng) for _ in range(kills))
    finish(start_training(arguments, cut))
    assert_same_run(whole, cut)
    assert not list(cut.glob('*.part'))
    report(
        'kill -9 of a training, up to 1 s after a checkpoint',
        killed,
        'resumed to the weights, optimiser and network of an unbroken run, to the bit',
    )
