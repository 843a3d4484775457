import sys
from dataclasses import replace

import numpy as np
import pytest

from fcn_road_seg.inference import calibration
from fcn_road_seg.inference.calibration import calibrate
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.utils.cpu_features import has_bfloat16

OPENVINO = 'fcn_road_seg.inference.backends.openvino_import'


@pytest.fixture(scope='module')
def frames_rgb():
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (*hw, 3), np.uint8) for hw in ((64, 96), (50, 80))]


@pytest.fixture(scope='module')
def checkpoint(random_checkpoint, frames_rgb):
    """A checkpoint that takes about half of a frame for road."""
    segmenter = RoadSegmenter(random_checkpoint, 'cpu', 'float32')
    p_road = segmenter(frames_rgb[0], channel_order='rgb', road_probability=True).road_probability
    return replace(random_checkpoint, threshold=float(np.median(p_road)) / 255)


@pytest.fixture(scope='module')
def calibrated(checkpoint, frames_rgb):
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        # `counts` is of the CPU, and a GPU rounds float16 sums otherwise.
        patch.setattr('torch.cuda.is_available', lambda: False)
        return calibrate(checkpoint, frames_rgb, lines.append), lines


def counts(checkpoint, frames_rgb, *arguments):
    """Return IoU and share of changed pixels of a precision, counted over the joined masks."""
    joined = [
        np.concatenate([s(f, channel_order='rgb').mask.ravel() > 0 for f in frames_rgb])
        for s in (
            RoadSegmenter(checkpoint, 'cpu', *arguments),
            RoadSegmenter(checkpoint, 'cpu', 'float32'),
        )
    ]
    found, expected = joined
    return (found & expected).sum() / (found | expected).sum(), (found != expected).mean()


def test_activation_ranges_are_those_of_the_frames(calibrated, checkpoint, frames_rgb):
    peaks = calibrated[0].activation_peaks
    assert peaks == measure_activation_ranges(checkpoint, frames_rgb)


@pytest.mark.parametrize(
    ('precision', 'backend'),
    [
        ('int8', 'auto'),
        ('int8_avx2', 'auto'),
        ('bfloat16', 'openvino' if has_bfloat16() else 'torch'),
        ('float16', 'torch'),
    ],
)
def test_agreement_is_counted_over_the_pixels_of_all_frames(
    calibrated, frames_rgb, precision, backend
):
    if backend != 'torch':
        pytest.importorskip(OPENVINO, reason='openvino is not installed')
    found = calibrated[0].agreements[precision]
    iou, changed = counts(calibrated[0], frames_rgb, precision, None, backend)
    assert found.iou == pytest.approx(iou)
    assert found.pixels_changed == pytest.approx(changed)
    assert 0.5 < found.iou <= 1


def test_each_precision_is_reported_in_one_line(calibrated):
    checkpoint, lines = calibrated
    precisions = [line.partition(' ')[0] for line in lines]
    assert precisions == ['int8', 'int8_avx2', 'bfloat16', 'float16']
    for line in lines:
        measured = checkpoint.agreements.get(line.partition(' ')[0])
        assert line.endswith(f': {measured}') if measured else ' is not measured: ' in line


def test_precision_without_its_library_is_not_recorded(checkpoint, frames_rgb, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fcn_road_seg.inference.backends.openvino_backend', None)
    lines = []
    agreements = calibrate(checkpoint, frames_rgb[:1], lines.append).agreements
    assert 'int8' not in agreements
    assert 'float16' in agreements
    assert lines[0].startswith("int8 is not measured: precision 'int8' needs openvino (")


def test_bfloat16_is_measured_by_pytorch_on_a_cpu_without_it(checkpoint, frames_rgb, monkeypatch):
    monkeypatch.setattr(calibration, 'has_bfloat16', lambda: False)
    lines = []
    agreements = calibrate(checkpoint, frames_rgb, lines.append).agreements
    iou, changed = counts(checkpoint, frames_rgb, 'bfloat16', None, 'torch')
    assert agreements['bfloat16'].iou == pytest.approx(iou)
    assert agreements['bfloat16'].pixels_changed == pytest.approx(changed)
    assert lines[2].startswith('bfloat16 by torch ')


def test_library_that_fails_costs_only_its_own_precision(checkpoint, frames_rgb, monkeypatch):
    real = calibration.RoadSegmenter

    def failing(checkpoint, device, precision, **options):
        if precision == 'bfloat16':
            raise RuntimeError('no primitive\nfor node 7')
        return real(checkpoint, device, precision, **options)

    monkeypatch.setattr(calibration, 'RoadSegmenter', failing)
    lines = []
    agreements = calibrate(checkpoint, frames_rgb[:1], lines.append).agreements
    assert 'bfloat16' not in agreements
    assert 'float16' in agreements
    assert lines[2] == 'bfloat16 is not measured: no primitive for node 7'


def test_masks_without_road_agree(checkpoint, frames_rgb):
    found = calibrate(replace(checkpoint, threshold=1 - 1e-9), frames_rgb[:1], str).agreements
    assert (found['float16'].iou, found['float16'].pixels_changed) == (1.0, 0.0)


def test_calibration_without_frames_is_refused(checkpoint):
    with pytest.raises(ValueError, match='no frame to measure activations on'):
        calibrate(checkpoint, [], str)
