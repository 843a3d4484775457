import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg.commands import calibrate
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from fcn_road_seg.evaluation.evaluator import load_examples, measure
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model import activation_ranges
from fcn_road_seg.model.checkpoint import load_checkpoint, save_checkpoint
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path


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
    path, out = tmp_path / 'half.safetensors', tmp_path / 'calibrated.safetensors'
    save_checkpoint(random_checkpoint, path, torch.float16)
    argv = ['--checkpoint', str(path), '--data', str(data), '--out', str(out)]
    assert calibrate.main(argv) == 0
    assert load_checkpoint(out).sha256 == load_checkpoint(path).sha256
    assert out.stat().st_size < path.stat().st_size + 1000


def test_checkpoint_is_not_replaced_by_its_calibrated_copy(random_checkpoint, data, tmp_path):
    path = tmp_path / 'own.safetensors'
    save_checkpoint(random_checkpoint, path)
    before = path.read_bytes()
    argv = ['--checkpoint', str(path), '--data', str(data), '--out', str(path)]
    with pytest.raises(SystemExit) as ended:
        calibrate.main(argv)
    expected = f'calibrate: {path} exists already; use another name, or remove it'
    assert ended.value.code == expected
    assert path.read_bytes() == before


@pytest.fixture
def prepared_path(random_checkpoint_path, data, tmp_path):
    out = tmp_path / 'prepared.safetensors'
    argv = ['--checkpoint', str(random_checkpoint_path), '--data', str(data), '--out', str(out)]
    assert calibrate.main([*argv, '--prepare-int8']) == 0
    return out


def test_prepared_network_has_caps_which_are_its_peaks(prepared_path):
    checkpoint = load_checkpoint(prepared_path)
    assert len(checkpoint.model.config.activation_caps) == 13
    assert checkpoint.activation_peaks == checkpoint.model.config.activation_caps


def test_network_that_was_prepared_before_stays_as_it_is(prepared_path, data, tmp_path):
    out = tmp_path / 'again.safetensors'
    argv = ['--checkpoint', str(prepared_path), '--data', str(data), '--out', str(out)]
    assert calibrate.main([*argv, '--prepare-int8']) == 0
    before, after = load_checkpoint(prepared_path), load_checkpoint(out)
    assert after.sha256 == before.sha256
    assert after.model.config == before.model.config


@pytest.fixture
def unlike_p_road(data):
    """Labels that p(road) of a random network knows nothing of: a third is road, by rows."""
    label = np.zeros((64, 96), np.uint8)
    label[::3] = 255
    for path in (data / 'masks').iterdir():
        cv2.imwrite(str(path), label)
    return data


def test_fitted_p_road_means_what_it_says(random_checkpoint_path, unlike_p_road, tmp_path):
    out = tmp_path / 'fitted.safetensors'
    argv = ['--checkpoint', str(random_checkpoint_path), '--data', str(unlike_p_road)]
    assert calibrate.main([*argv, '--out', str(out), '--probabilities']) == 0
    before, after = (
        measure(
            RoadSegmenter(path, 'cpu', 'float32'),
            load_examples(find_frames(unlike_p_road, 'val'), 'val'),
            stress=False,
        )
        .pooled()
        .calibration_error()
        for path in (random_checkpoint_path, out)
    )
    assert before > 0.1
    assert after < 0.01
    assert load_checkpoint(out).threshold == 0.5


def test_p_road_cannot_be_fitted_to_frames_without_road(random_checkpoint_path, data, tmp_path):
    argv = ['--checkpoint', str(random_checkpoint_path), '--data', str(data), '--probabilities']
    with pytest.raises(SystemExit, match=r'^calibrate: p\(road\) cannot be fitted [^\n]*$'):
        calibrate.main([*argv, '--out', str(tmp_path / 'o.safetensors')])


def test_p_road_cannot_be_fitted_without_labels(tmp_path, capsys):
    with pytest.raises(SystemExit):
        calibrate.main(['--probabilities', '--out', str(tmp_path / 'o.safetensors')])
    assert '--probabilities needs labels; give --data DIR' in capsys.readouterr().err


def test_without_data_rendered_frames_are_taken(monkeypatch):
    monkeypatch.setattr(activation_ranges, 'FRAME_COUNT', 2)
    frames = list(calibrate.calibration_frames([], SplitRule()))
    assert [frame.shape for frame in frames] == [(375, 1242, 3)] * 2


def test_each_data_set_gives_equally_many_frames(monkeypatch, data):
    monkeypatch.setattr(activation_ranges, 'FRAME_COUNT', 6)
    # Of its five frames, the last one validates.
    assert len(list(calibrate.calibration_frames([data, data], SplitRule()))) == 6
    assert len(list(calibrate.calibration_frames([data], SplitRule()))) == 4


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
    text = 'nowhere/o.safetensors is not in an existing folder; create that folder first'
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'precisions'),
    [
        ('', {'int8', 'bfloat16', 'float16'}),
        ('lite', {'int8', 'int8_avx2', 'bfloat16', 'float16'}),
    ],
)
def test_shipped_checkpoint_agrees_in_the_precisions_that_auto_takes(name, precisions):
    checkpoint = load_checkpoint(checkpoint_path(name))
    assert len(checkpoint.activation_peaks) == 13
    assert checkpoint.agreements.keys() == precisions
    assert all(found.suffices for found in checkpoint.agreements.values())
