import os
import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.callbacks import (
    ProgressBar,
    SigtermInterrupts,
    WholeCheckpoints,
    weight_average,
)
from fcn_road_seg.training.errors import TrainingError
from test.helpers.full_disk import file_size_limit


def test_weight_average_forgets_the_beginning_and_then_holds_its_decay():
    average = weight_average(decay=0.9)._kwargs['avg_fn']
    zero, one = torch.zeros(()), torch.ones(())
    assert average(zero, one, torch.tensor(1)).item() == pytest.approx(9 / 11)
    assert average(zero, one, torch.tensor(1000)).item() == pytest.approx(0.1)
    assert average(one, one, torch.tensor(5)).item() == 1


def test_sigterm_that_python_drops_interrupts_the_next_batch():
    callback = SigtermInterrupts()
    before = signal.getsignal(signal.SIGTERM)
    try:
        callback.on_train_start(None, None)
        callback.on_train_batch_start(None, None, None, 0)
        # As Python does in a finalizer.
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            callback.on_train_batch_start(None, None, None, 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def write_on_a_full_disk(path):
    """Write a checkpoint where only the first 10,000 bytes of it fit; return what is said."""
    with file_size_limit(10_000), pytest.raises(TrainingError) as ended:
        WholeCheckpoints().save_checkpoint({'step': 2, 'weights': torch.zeros(100_000)}, path)
    return str(ended.value)


def test_disk_with_no_room_leaves_the_checkpoint_before_and_says_so(tmp_path):
    path = tmp_path / 'last.ckpt'
    torch.save({'step': 1}, path)
    said = write_on_a_full_disk(path)
    assert said.startswith(f'{path} cannot be written')
    assert f'Free some space and continue with --resume {path}' in said
    assert torch.load(path) == {'step': 1}
    assert list(tmp_path.iterdir()) == [path]


def test_disk_with_no_room_for_the_first_checkpoint_is_not_said_to_have_one(tmp_path):
    said = write_on_a_full_disk(tmp_path / 'best.ckpt')
    assert 'Free some space and start again' in said
    assert not list(tmp_path.iterdir())


def test_progress_bar_ends_its_line_before_an_error_is_printed(capsys):
    bar = ProgressBar()
    bar.setup(SimpleNamespace(is_global_zero=True), None, 'fit')
    bar.train_progress_bar = bar.init_train_tqdm()
    bar.on_exception(None, None, OSError())
    assert capsys.readouterr().out.endswith('\n')
    bar.train_progress_bar.close()
    assert capsys.readouterr().out == ''
