import errno
import os
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('lightning', reason='lightning is not installed')

from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.run import fit


def fit_that_fails(error, out):
    def fail(*args, **kwargs):
        raise error

    fit(SimpleNamespace(fit=fail), None, None, SimpleNamespace(out=out, resume=None))


def test_full_disk_is_named_with_the_way_to_go_on(tmp_path):
    last = tmp_path / 'last.ckpt'
    last.touch()
    with pytest.raises(TrainingError) as caught:
        fit_that_fails(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), tmp_path)
    assert str(caught.value) == (
        f'{tmp_path} cannot be written ([Errno 28] No space left on device); earlier files are '
        f'intact. Free some space and continue with --resume {last}'
    )


def test_other_errors_of_files_keep_their_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'a\.png'):
        fit_that_fails(FileNotFoundError(errno.ENOENT, 'No such file', 'a.png'), tmp_path)


def test_full_gpu_memory_is_reported_with_what_to_lower(tmp_path):
    error = torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 MiB.')
    with pytest.raises(TrainingError, match=r'^CUDA out of memory.*; lower --batch or --crop$'):
        fit_that_fails(error, tmp_path)
