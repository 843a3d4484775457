import copy

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.cuda_program import CudaProgram, frame_kind
from fcn_road_seg.inference.interfaces import OverlayStyle, SegmentationRequest
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN

FRAME_HW = (90, 130)


@pytest.fixture(scope='module')
def random_model(random_model):
    """A copy: the networks made of it change the layout of its weights in memory."""
    return copy.deepcopy(random_model)


REQUEST = SegmentationRequest(
    input_hw=(64, 96),
    hidden_input_rows=0,
    hidden_rows=0,
    channel_order='bgr',
    logit_threshold=0.0,
    road_probability=True,
    confidence=True,
    overlay=OverlayStyle(),
)
HIDING = {'hidden_input_rows': 32, 'hidden_rows': 50}


def changed(**changes):
    return SegmentationRequest(**{**vars(REQUEST), **changes})


@pytest.fixture(scope='module')
def frame():
    return np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), np.uint8)


def run(program, frame, request):
    staged = np.empty(program.uploaded.shape, np.uint8)
    program.stage(frame, request, staged)
    program.uploaded.copy_(torch.from_numpy(staged))
    program()
    return program.segmentation(program.results.numpy())


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
@pytest.mark.parametrize('hidden', [{}, HIDING])
def test_network_gets_the_same_numbers_as_on_the_cpu(random_model, frame, order, hidden):
    request = changed(channel_order=order, **hidden)
    program = CudaProgram(random_model, FRAME_HW, request)
    run(program, frame, request)
    x = program.network_input()
    network = TorchBackend(random_model.weights(), 'float32')
    seen = []
    hook = network._model.encoder.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    CpuPipeline(network).run(frame, request)
    hook.remove()
    assert x.shape == (1, 3, 32 if hidden else 64, 96)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x, seen[0], rtol=0, atol=1e-6)


def test_every_result_is_written_by_every_frame(random_model, frame):
    program = CudaProgram(random_model, FRAME_HW, REQUEST)
    found = []
    for before in (77, 78):
        program.results.fill_(before)
        run(program, frame, REQUEST)
        found.append(program.results.clone())
    assert torch.equal(*found)


@pytest.mark.parametrize(
    'changes', [{'road_probability': False}, {'confidence': False}, {'overlay': None}]
)
def test_what_is_not_asked_for_is_neither_made_nor_downloaded(random_model, frame, changes):
    request = changed(**changes)
    program = CudaProgram(random_model, FRAME_HW, request)
    result = run(program, frame, request)
    pixels = FRAME_HW[0] * FRAME_HW[1]
    assert (result.road_probability is None) == ('road_probability' in changes)
    assert (result.confidence is None) == ('confidence' in changes)
    assert (result.overlay_bgr is None) == ('overlay' in changes)
    assert program.results.numel() == pixels * (3 if 'overlay' in changes else 5)


def test_road_probability_at_pixels_is_that_of_the_image_for_every_table(random_model, frame):
    tables = [np.array([700, 0, 96, 96]), np.array([1, 2, 3, 4])]
    program = CudaProgram(random_model, FRAME_HW, changed(pixels=tables[0]))
    for pixels in [*tables, tables[0]]:
        found = run(program, frame, changed(pixels=pixels))
        expected = found.road_probability.reshape(-1)[pixels]
        assert np.array_equal(found.road_probability_at, expected)
    assert (
        run(CudaProgram(random_model, FRAME_HW, REQUEST), frame, REQUEST).road_probability_at
        is None
    )


def test_frames_with_as_many_pixels_to_look_up_share_a_program():
    kinds = [frame_kind(FRAME_HW, changed(pixels=np.arange(n))) for n in (3, 3, 4)]
    assert kinds[0] == kinds[1] != kinds[2] != frame_kind(FRAME_HW, REQUEST)


def test_confidence_is_the_certainty_of_the_more_likely_class(random_model, frame):
    logit = torch.linspace(-8, 8, FRAME_HW[0] * FRAME_HW[1]).reshape(FRAME_HW)
    program = CudaProgram(random_model, FRAME_HW, REQUEST)
    run(program, frame, changed(logit_threshold=2.0))
    program.write_results(logit)
    found = program.segmentation(program.results.numpy())
    p_road = torch.sigmoid(logit).numpy()
    assert np.array_equal(found.mask == 255, logit.numpy() >= 2.0)
    assert np.abs(found.road_probability - 255 * p_road).max() < 0.51
    assert np.abs(found.confidence - 255 * np.maximum(p_road, 1 - p_road)).max() < 0.51


def test_threshold_and_style_travel_with_the_frame(random_model, frame):
    program = CudaProgram(random_model, FRAME_HW, REQUEST)
    painted = changed(logit_threshold=-99.0, overlay=OverlayStyle((10, 20, 30), 1.0))
    result = run(program, frame, painted)
    assert (result.mask == 255).all()
    assert (result.overlay_bgr == (30, 20, 10)).all()
    result = run(program, frame, changed(logit_threshold=99.0))
    assert not result.mask.any()
    assert np.array_equal(result.overlay_bgr, frame)


def test_requests_of_one_kind_differ_in_threshold_and_style_alone():
    kind = frame_kind(FRAME_HW, REQUEST)
    assert frame_kind(FRAME_HW, changed(logit_threshold=2.0)) == kind
    assert frame_kind(FRAME_HW, changed(overlay=OverlayStyle((1, 2, 3), 0.9))) == kind
    others = [
        frame_kind((91, 130), REQUEST),
        frame_kind(FRAME_HW, changed(input_hw=(64, 128))),
        frame_kind(FRAME_HW, changed(hidden_input_rows=32)),
        frame_kind(FRAME_HW, changed(hidden_rows=1)),
        frame_kind(FRAME_HW, changed(channel_order='rgb')),
        frame_kind(FRAME_HW, changed(road_probability=False)),
        frame_kind(FRAME_HW, changed(confidence=False)),
        frame_kind(FRAME_HW, changed(overlay=None)),
    ]
    assert len({kind, *others}) == 9


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('frame_hw', [FRAME_HW, (40, 50)])
@pytest.mark.parametrize('width', [1.0, 0.25])
def test_on_a_gpu_nothing_waits_for_it_or_leaves_it(dtype, frame_hw, width):
    # Tensors without data, which claim to be on a GPU: reading a value of one, or mixing it with
    # one of the CPU, raises an error, as it would fail a capture.
    standard = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            with torch.device('cuda'):
                model = RoadFCN(RoadFCNConfig(width=width)).eval()
            torch.set_default_dtype(standard)
            program = CudaProgram(model, frame_hw, changed(channel_order='rgb', **HIDING))
            program()
            x = program.network_input()
            logit = program.input_logit(x)
    finally:
        torch.set_default_dtype(standard)
    assert (x.device.type, x.dtype, x.shape) == ('cuda', dtype, (1, 3, 32, 96))
    assert (logit.device.type, logit.dtype) == ('cuda', torch.float32)
    assert program.results.device.type == 'cuda'
