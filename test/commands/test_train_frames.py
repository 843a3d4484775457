import csv
import shutil

import pytest
import torch

from fcn_road_seg.commands import train
from test.helpers.easy_data import TINY

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.lightning_module import RoadTraining


def test_training_is_the_same_without_cache_and_workers_as_with_both(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--pixels', '2048']
    arguments += ['--batch', '2', '--steps', '4', '--val-every', '2']
    ways = {
        'plain': ['--cache-size', '0'],
        'cached': ['--cache', str(tmp_path / 'cache'), '--workers', '2'],
        'again': ['--cache', str(tmp_path / 'cache'), '--workers', '2'],
    }
    for name, way in ways.items():
        train.main([*arguments, *way, '--out', str(tmp_path / name)])
    plain, *others = (torch.load(tmp_path / name / 'last.ckpt') for name in ways)
    for other in others:
        assert other['val_iou_by_source'] == plain['val_iou_by_source']
        for name, tensor in plain['state_dict'].items():
            assert torch.equal(tensor, other['state_dict'][name]), name


def test_share_of_the_time_waited_for_frames_is_among_the_metrics(short_run):
    out, _ = short_run
    with (out / 'metrics/version_0/metrics.csv').open() as file:
        shares = [float(row['train/data_wait'] or -1) for row in csv.DictReader(file)]
    assert 0 < max(shares) < 1


def test_file_that_is_damaged_in_mid_run_is_named_in_one_line(easy_data, tmp_path, monkeypatch):
    data = tmp_path / 'data'
    shutil.copytree(easy_data, data)

    def damage(self):
        for path in data.glob('images/*'):
            path.write_bytes(b'damaged')

    monkeypatch.setattr(RoadTraining, 'on_train_start', damage)
    arguments = [*TINY, '--data', str(data), '--crop', '32x32', '--out', str(tmp_path / 'run')]
    with pytest.raises(
        SystemExit, match=r'^train: \S+images/\d.png cannot be read: .*; replace or remove it$'
    ):
        train.main([*arguments, '--cache-size', '0', '--workers', '1'])
