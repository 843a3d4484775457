import numpy as np
import pytest
import torch

from fcn_road_seg.commands import evaluate, segment_bag
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.model.road_fcn import RoadFCN
from test.helpers.camera_bags import raw_msgs, write_bag

FULL = 'CUDA out of memory. Tried to allocate 2.00 GiB.'
FAILED = 'CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be'
REMEDY = 'use --device cpu, a smaller --input or another --precision'


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (torch.cuda.OutOfMemoryError(FULL), FULL.rstrip('.')),
        # PyTorch before 2.8 has no type for it.
        (getattr(torch, 'AcceleratorError', RuntimeError)(FAILED), FAILED.splitlines()[0]),
        (RuntimeError(FAILED), FAILED.splitlines()[0]),
        (RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'), 'cuDNN error: CUDNN_STATUS_ALLO'),
    ],
)
def test_error_of_a_gpu_is_one_line_with_a_remedy(error, reason):
    def fail():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command('command', fail, (ValueError,))
    said = str(ended.value.code)
    assert said.startswith(f'command: {reason}')
    assert said.endswith(f'; {REMEDY}')
    assert '\n' not in said


def test_other_runtime_errors_keep_their_traceback():
    def fail():
        raise RuntimeError('a bug')

    with pytest.raises(RuntimeError, match=r'^a bug$'):
        run_command('command', fail, (ValueError,))


@pytest.fixture
def full_gpu(monkeypatch):
    """Let the network fail as on a GPU without free memory."""

    def fail(*_):
        raise torch.cuda.OutOfMemoryError(FULL)

    monkeypatch.setattr(RoadFCN, 'scores_of_normalised', fail)


def test_full_gpu_is_one_line_of_evaluate(full_gpu, random_checkpoint_path, tmp_path):
    arguments = ['--rendered', '1', '--device', 'cpu', '--backend', 'torch']
    arguments += ['--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit) as ended:
        evaluate.main([*arguments, '--checkpoint', str(random_checkpoint_path)])
    assert ended.value.code == f'evaluate: {FULL[:-1]}; {REMEDY}'


def test_full_gpu_is_one_line_of_segment_bag_and_leaves_no_bag(
    full_gpu, random_checkpoint_path, tmp_path
):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    bag = write_bag(tmp_path / 'bag', {'/a': raw_msgs(np.zeros((1, 32, 64, 3), np.uint8))})
    arguments = [str(bag), str(tmp_path / 'out'), '--device', 'cpu', '--backend', 'torch']
    with pytest.raises(SystemExit) as ended:
        segment_bag.main([*arguments, '--checkpoint', str(random_checkpoint_path)])
    assert ended.value.code == f'segment_bag: {FULL[:-1]}; {REMEDY}'
    assert [path.name for path in tmp_path.iterdir()] == ['bag']
