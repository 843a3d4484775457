import pytest

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training import options, trainer
from fcn_road_seg.training.callbacks import RunCheckpoint
from fcn_road_seg.training.options import TrainingOptions, default_workers
from fcn_road_seg.training.recipes import CLASSIC, STRONG
from fcn_road_seg.training.trainer import build_callbacks, lightning_precision


@pytest.mark.parametrize(
    ('recipe', 'in_hardware', 'on_cpu', 'expected'),
    [
        (STRONG, True, True, 'bf16-mixed'),
        (STRONG, False, True, '32-true'),
        (STRONG, False, False, 'bf16-mixed'),
        (CLASSIC, True, True, '32-true'),
    ],
)
def test_auto_trains_in_bfloat16_if_the_device_and_the_recipe_have_it(
    monkeypatch, recipe, in_hardware, on_cpu, expected
):
    monkeypatch.setattr(trainer, 'has_bfloat16', lambda: in_hardware)
    assert lightning_precision('auto', recipe, on_cpu) == expected


def test_best_checkpoint_is_written_before_the_last_one(tmp_path):
    # A run that goes on from its last one would not know of a best one that it lacks.
    callbacks = build_callbacks(TrainingOptions(out=tmp_path), STRONG, validates=True)
    written = [callback for callback in callbacks if isinstance(callback, RunCheckpoint)]
    assert [callback.filename for callback in written] == ['best', 'last']


@pytest.mark.parametrize(('cores', 'workers'), [(2, 2), (64, 8)])
def test_each_core_has_a_process_that_reads_frames_but_at_most_eight_have(
    monkeypatch, cores, workers
):
    monkeypatch.setattr(options, 'usable_cpus', lambda: set(range(cores)))
    assert default_workers() == workers
