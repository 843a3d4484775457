import subprocess
import sys

import pytest

pytest.importorskip('lightning', reason='lightning is not installed')

from fcn_road_seg.training.run_folder import check_run_folder


@pytest.mark.parametrize(
    'name', ['last.ckpt', 'best.ckpt', 'road_fcn.safetensors', 'curves.png', 'predictions.png']
)
def test_resuming_removes_what_a_killed_run_could_not_finish(tmp_path, name):
    last = tmp_path / 'last.ckpt'
    last.touch()
    (tmp_path / 'mine.part').touch()
    # Not a fork of this process, which can have threads of other tests.
    program = f"""
import os
from fcn_road_seg.utils.atomic_write import atomic_write
with atomic_write({str(tmp_path / name)!r}):
    os._exit(0)
"""
    subprocess.run([sys.executable, '-c', program], check=True)
    assert len(list(tmp_path.glob(f'{name}.*.part'))) == 1
    check_run_folder(tmp_path, resume=last)
    assert {path.name for path in tmp_path.iterdir()} == {'last.ckpt', 'mine.part'}
