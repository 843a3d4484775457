import subprocess
import sys
from random import Random

import pytest
import torch

pytest.importorskip('lightning', reason='lightning is not installed')

from fcn_road_seg.training.run_folder import (
    check_run_folder,
    full_disk_error,
    read_run_checkpoint,
)


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


def test_run_that_left_a_network_but_no_state_is_started_again_in_another_folder(tmp_path):
    (tmp_path / 'best.ckpt').touch()
    last = tmp_path / 'last.ckpt'
    text = str(full_disk_error(last, tmp_path, OSError('no space')))
    assert text.endswith('Free some space and start again with another --out')
    with pytest.raises(ValueError, match=r'without --resume with another --out$'):
        check_run_folder(tmp_path, resume=last)
    with pytest.raises(ValueError, match=r'holds another run \(best.ckpt\); use another --out'):
        check_run_folder(tmp_path, resume=None)


@pytest.mark.parametrize('is_zip', [True, False])
def test_damaged_checkpoint_of_a_run_is_refused_in_one_line_that_names_it(tmp_path, is_zip):
    path = tmp_path / 'last.ckpt'
    saved = {'state_dict': {'net.a': torch.zeros(3)}, 'optimizer_states': [1], 'global_step': 5}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    refused = 0
    for seed in range(600):
        random = Random(seed)
        damaged = bytearray(whole)
        for _ in range(random.randrange(1, 8)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        path.write_bytes(damaged if seed % 2 else damaged[: random.randrange(len(damaged))])
        try:
            read_run_checkpoint(path)
        except ValueError as error:
            refused += 1
            text = str(error)
            is_one_line = text.startswith(f'{path} is not a ch') and len(text.splitlines()) == 1
            if not is_one_line:
                pytest.fail(text)
    assert refused > 300
