import os

import pytest

pytest.importorskip('lightning', reason='lightning is not installed')

from fcn_road_seg.training.run_folder import check_run_folder
from fcn_road_seg.utils.atomic_write import atomic_write


@pytest.mark.parametrize(
    'name', ['last.ckpt', 'best.ckpt', 'road_fcn.safetensors', 'curves.png', 'predictions.png']
)
def test_resuming_removes_what_a_killed_run_could_not_finish(tmp_path, name):
    last = tmp_path / 'last.ckpt'
    last.touch()
    (tmp_path / 'mine.part').touch()
    if not (killed := os.fork()):
        with atomic_write(tmp_path / name):
            os._exit(0)
    # Not os.wait(), which another child of this process would end.
    os.waitpid(killed, 0)
    assert len(list(tmp_path.glob(f'{name}.*.part'))) == 1
    check_run_folder(tmp_path, resume=last)
    assert {path.name for path in tmp_path.iterdir()} == {'last.ckpt', 'mine.part'}
