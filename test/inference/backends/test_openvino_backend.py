import copy
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from fcn_road_seg.inference.options import SegmenterError
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.int8_form import int8_weights, quantized_layers
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import fold_batch_norm
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path, default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.utils.cpu_features import has_avx2, has_exact_int8, has_fast_bfloat16
from test.helpers.reference import (
    NETWORKS,
    ReferenceBackend,
    assert_logit_is_that_of_the_network,
    model_of,
)

pytest.importorskip(
    'fcn_road_seg.inference.backends.openvino_import', reason='openvino is not installed'
)

from fcn_road_seg.inference.backends import openvino_backend
from fcn_road_seg.inference.backends.openvino_backend import KEPT_SIZES, OpenVinoBackend

CONVOLUTIONS = 13

needs_int8 = pytest.mark.skipif(not has_exact_int8(), reason='a CPU without VNNI or AMX')
needs_avx2 = pytest.mark.skipif(not has_avx2(), reason='a CPU without AVX2')
needs_bfloat16 = pytest.mark.skipif(
    'BF16' not in openvino_backend._CORE.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'),
    reason='a CPU on which OpenVINO does not compute in bfloat16',
)


@pytest.mark.parametrize('config', NETWORKS)
def test_logit_is_that_of_the_network(config):
    assert_logit_is_that_of_the_network(
        lambda weights: OpenVinoBackend(weights, 'float32', None, 2), config
    )


@pytest.fixture(scope='module')
def shipped():
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope='module')
def frames_bgr():
    drive = SyntheticDrive(seed=3)
    return [drive.render(t_s)[0] for t_s in (0.0, 9.0)]


@pytest.mark.parametrize(
    ('precision', 'least_iou'),
    [pytest.param('bfloat16', 0.995, marks=needs_bfloat16), ('int8', 0.99), ('int8_avx2', 0.98)],
)
def test_masks_of_rendered_frames_are_nearly_float32s(shipped, frames_bgr, precision, least_iou):
    reference, segmenter = (RoadSegmenter(shipped, 'cpu', p) for p in ('float32', precision))
    assert segmenter.backend.name == 'openvino'
    for frame_bgr in frames_bgr:
        expected, found = (s(frame_bgr).mask == 255 for s in (reference, segmenter))
        assert 0.05 < expected.mean() < 0.9
        assert (found & expected).sum() / (found | expected).sum() >= least_iou


@pytest.mark.parametrize(
    'precision', [pytest.param('bfloat16', marks=needs_bfloat16), 'int8', 'int8_avx2']
)
@pytest.mark.parametrize('config', NETWORKS)
def test_lower_precision_is_near_the_network_for_every_kind_of_it(config, precision):
    model = fold_batch_norm(model_of(config))
    frame_rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    expected = ReferenceBackend(model).road_logit(frame_rgb)
    network = OpenVinoBackend(model.weights(), precision, peaks_of(model, frame_rgb), 2)
    difference = np.abs(network.road_logit(frame_rgb) - expected)
    assert 0 < difference.max() < 0.1 * np.ptp(expected)


def peaks_of(model, frame_rgb):
    """Return what `measure_activation_ranges` should, by hooks."""
    peaks = []
    hooks = [
        layer.register_forward_hook(lambda *call: peaks.append(call[2].max().item()))
        for layer in model.encoder.features
        if isinstance(layer, (torch.nn.ReLU, torch.nn.Hardtanh))
    ]
    model.scores(torch.from_numpy(frame_rgb).permute(2, 0, 1)[None])
    for hook in hooks:
        hook.remove()
    assert len(peaks) == CONVOLUTIONS
    return tuple(peaks)


def test_channel_whose_weights_are_all_zero_stays_silent_in_int8():
    model = model_of(RoadFCNConfig(width=0.25))
    with torch.no_grad():
        model.encoder.features[0].weight[5] = 0
    frame_rgb = np.full((32, 32, 3), 200, np.uint8)
    network = OpenVinoBackend(model.weights(), 'int8', peaks_of(model, frame_rgb), 1)
    assert np.isfinite(network.road_logit(frame_rgb)).all()


def in_int8_by_pytorch(model, peaks, frame_rgb, bits):
    """Return the logit of a folded network whose numbers are rounded as int8 rounds them."""
    model = copy.deepcopy(model)
    kinds = (torch.nn.ReLU, torch.nn.Hardtanh)
    activations = [layer for layer in model.encoder.features if isinstance(layer, kinds)]
    for layer, peak in zip(activations, peaks, strict=True):
        # With 7 bits the peak itself is rounded from 127.5 to 128.
        steps = 255 if bits == 8 else 127.5
        layer.register_forward_hook(
            lambda _, __, x, p=peak, n=steps: (x.clamp(max=p) / p * n).round() * p / n
        )
    for name, axis in list(quantized_layers(model.config))[8 - bits :]:
        layer = model.get_submodule(name)
        # The first layer's weights are rounded for pixels in 0..255.
        scale = 255 * model.std if layer is model.encoder.features[0] else 1
        rounded, step = int8_weights((layer.weight / scale).numpy(), axis)
        layer.weight.data.copy_(torch.from_numpy(rounded * step) * scale)
    return ReferenceBackend(model).road_logit(frame_rgb)


@pytest.mark.parametrize(
    ('bits', 'precision', 'in_hardware'),
    [
        pytest.param(8, 'int8', True, marks=needs_int8),
        (8, 'int8', False),
        pytest.param(7, 'int8_avx2', True, marks=needs_avx2),
        (7, 'int8_avx2', False),
    ],
)
def test_int8_rounds_weights_and_activations(monkeypatch, bits, precision, in_hardware):
    for name in ('has_exact_int8', 'has_avx2'):
        monkeypatch.setattr(openvino_backend, name, lambda: in_hardware)
    # With AMX the other layers would be in bfloat16, whose error is as large.
    monkeypatch.setattr(openvino_backend, 'has_fast_bfloat16', lambda: False)
    shipped = load_checkpoint(checkpoint_path('lite'))
    model, peaks = shipped.model, shipped.activation_peaks
    frame_rgb = np.ascontiguousarray(SyntheticDrive(3, (96, 160)).render(0.0)[0][..., ::-1])
    found = OpenVinoBackend(model.weights(), precision, peaks, 1).road_logit(frame_rgb)
    expected = in_int8_by_pytorch(model, peaks, frame_rgb, bits)
    in_float32 = ReferenceBackend(model).road_logit(frame_rgb)
    # Numbers that are nearly halfway between two steps are rounded differently.
    assert np.abs(found - expected).mean() < 0.75 * np.abs(found - in_float32).mean()


def test_largest_sums_of_int8_avx2_do_not_overflow():
    # Every activation is at its peak, and every weight is the largest of its channel.
    model = model_of(RoadFCNConfig(width=0.25))
    with torch.no_grad():
        for name, _ in quantized_layers(model.config):
            weight = model.get_submodule(name).weight
            weight.fill_(1.0 / weight[0].numel())
    frame_rgb = np.full((64, 96, 3), 255, np.uint8)
    expected = ReferenceBackend(model).road_logit(frame_rgb)
    peaks = peaks_of(model, frame_rgb)
    found = OpenVinoBackend(model.weights(), 'int8_avx2', peaks, 1).road_logit(frame_rgb)
    # Where they do, it is 0.06.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.fixture(scope='module')
def network():
    return OpenVinoBackend(model_of(RoadFCNConfig(width=0.25)).weights(), 'float32', None, 1)


def test_sizes_may_change_from_frame_to_frame(network):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (32, 32 * (i + 1), 3), np.uint8) for i in range(KEPT_SIZES + 2)]
    first = [network.road_logit(frame).copy() for frame in frames]
    again = [network.road_logit(frame).copy() for frame in frames]
    for one, other, frame in zip(first, again, frames, strict=True):
        assert one.shape == frame.shape[:2]
        assert np.array_equal(one, other)
    assert len(network._requests) == KEPT_SIZES


def test_frame_whose_rows_are_padded_is_read_as_it_is(network):
    padded = np.random.default_rng(2).integers(0, 256, (32, 80, 3), np.uint8)
    expected = network.road_logit(padded[:, :64].copy()).copy()
    assert np.array_equal(network.road_logit(padded[:, :64]), expected)


def test_bfloat16_is_refused_on_a_cpu_that_would_compute_in_float32(shipped, monkeypatch):
    capabilities = ['FP32', 'INT8', 'BIN', 'EXPORT_IMPORT']
    monkeypatch.setattr(openvino_backend.openvino.Core, 'get_property', lambda *_: capabilities)
    model = shipped.model
    with pytest.raises(SegmenterError, match=r"'bfloat16' needs a CPU with AVX-512 .*float32"):
        OpenVinoBackend(model.weights(), 'bfloat16', None, 1)
    assert OpenVinoBackend(model.weights(), 'float32', None, 1)


@needs_int8
@pytest.mark.parametrize('amx', [False, True])
def test_layers_that_are_not_in_int8_are_in_bfloat16_with_amx(shipped, monkeypatch, amx):
    if amx and not has_fast_bfloat16():
        pytest.skip('a CPU without AMX')
    monkeypatch.setattr(openvino_backend, 'has_fast_bfloat16', lambda: amx)
    model = shipped.model
    network = OpenVinoBackend(model.weights(), 'int8', shipped.activation_peaks, 1)
    compiled = network._request((64, 64)).get_compiled_model()
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = {'Convolution': set(), 'Deconvolution': set()}
    for layer in layers:
        if (kind := layer['layerType'].value) in kinds:
            kinds[kind].add(layer['runtimePrecision'].value)
    beside_int8 = 'bf16' if amx else 'f32'
    assert kinds == {'Convolution': {'u8', beside_int8}, 'Deconvolution': {beside_int8}}


def test_other_threads_go_on_while_it_computes(shipped):
    network = OpenVinoBackend(shipped.model.weights(), 'float32', None, 1)
    frame_rgb = np.zeros((160, 512, 3), np.uint8)
    network.road_logit(frame_rgb)
    ticks = [0]
    done = threading.Event()

    def tick():
        while not done.wait(0.005):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks[0]
    network.road_logit(frame_rgb)
    counted = ticks[0] - before
    done.set()
    thread.join()
    # It takes 100 ms and more: with the interpreter's lock held there would be one, or none.
    assert counted >= 3


def test_signal_after_networks_were_closed_in_the_order_of_opening_calls_its_handler():
    code = """
import signal
from fcn_road_seg.inference.backends.openvino_backend import OpenVinoBackend
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN

weights = RoadFCN(RoadFCNConfig(width=0.25)).weights()
networks = [OpenVinoBackend(weights, 'float32', None, 1) for _ in range(2)]
del networks[0], networks[0]
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
signal.raise_signal(signal.SIGUSR1)
"""
    # A segmentation fault would end pytest, too.
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr
