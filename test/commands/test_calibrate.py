import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg.commands import calibrate
from fcn_road_seg.model.checkpoint import load_checkpoint, save_checkpoint
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path


@pytest.fixture
def data(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        frame_bgr = rng.integers(0, 256, (64, 96, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'data/images/{i}.png'), frame_bgr)
        cv2.imwrite(str(tmp_path / f'data/masks/{i}.png'), np.zeros((64, 96), np.uint8))
    return tmp_path / 'data'


def test_checkpoint_gains_peaks_and_is_otherwise_unchanged(random_checkpoint_path, data, tmp_path):
    out = tmp_path / 'calibrated.safetensors'
    argv = ['--checkpoint', str(random_checkpoint_path), '--data', str(data), '--out', str(out)]
    assert calibrate.main(argv) == 0
    before, after = load_checkpoint(random_checkpoint_path), load_checkpoint(out)
    assert before.activation_peaks is None
    assert len(after.activation_peaks) == 13
    assert all(0 < peak < 100 for peak in after.activation_peaks)
    assert 0.9 < after.agreements['float16'].iou <= 1
    assert after.sha256 == before.sha256
    assert after.provenance == before.provenance
    assert after.threshold == before.threshold


def test_checkpoint_in_16_bits_keeps_its_hash_and_size(random_checkpoint, data, tmp_path):
    path = tmp_path / 'half.safetensors'
    save_checkpoint(random_checkpoint, path, torch.float16)
    argv = ['--checkpoint', str(path), '--data', str(data), '--out', str(path)]
    before = load_checkpoint(path)
    size = path.stat().st_size
    assert calibrate.main(argv) == 0
    assert load_checkpoint(path).sha256 == before.sha256
    assert path.stat().st_size < size + 1000


def test_without_data_rendered_frames_are_taken(monkeypatch):
    monkeypatch.setattr(calibrate, 'FRAME_COUNT', 2)
    frames = list(calibrate.calibration_frames([]))
    assert [frame.shape for frame in frames] == [(375, 1242, 3)] * 2


def test_each_data_set_gives_equally_many_frames(monkeypatch, data):
    monkeypatch.setattr(calibrate, 'FRAME_COUNT', 6)
    # Of its five frames, the last one validates.
    assert len(list(calibrate.calibration_frames([data, data]))) == 6
    assert len(list(calibrate.calibration_frames([data]))) == 4


@pytest.mark.parametrize('missing', ['--checkpoint', '--data'])
def test_missing_file_is_one_line(random_checkpoint_path, tmp_path, missing):
    argv = {'--checkpoint': str(random_checkpoint_path), '--out': str(tmp_path / 'o.safetensors')}
    argv[missing] = str(tmp_path / 'nowhere')
    with pytest.raises(SystemExit, match=f'^calibrate: {tmp_path}/nowhere [^\n]*$'):
        calibrate.main([word for pair in argv.items() for word in pair])
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_an_error_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(SystemExit):
        calibrate.main(['--out', str(tmp_path / 'nowhere/o.safetensors')])
    assert 'nowhere/o.safetensors is not in an existing folder' in capsys.readouterr().err


def test_shipped_checkpoint_is_calibrated():
    checkpoint = load_checkpoint(default_checkpoint_path())
    assert len(checkpoint.activation_peaks) == 13
    assert checkpoint.agreements.keys() == {'int8', 'bfloat16', 'float16'}
