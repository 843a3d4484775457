import json
import math
import sys
from contextlib import redirect_stdout
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fcn_road_seg import __version__
from fcn_road_seg.commands import export
from fcn_road_seg.model import onnx_export
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.full_disk import file_size_limit
from test.helpers.reference import model_of

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
pytest.importorskip('onnxscript', reason='onnxscript is not installed')


def run_export(checkpoint_path, folder, *argv):
    """Run the command in an empty folder; return checkpoint, file, output and ONNX session."""
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        assert export.main(argv) == 0
    (path,) = folder.iterdir()
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return SimpleNamespace(
        checkpoint=load_checkpoint(checkpoint_path),
        path=path,
        printed=printed.getvalue(),
        session=session,
    )


@pytest.fixture(scope='module')
def random(random_checkpoint_path, tmp_path_factory):
    argv = ('--checkpoint', str(random_checkpoint_path), '--format', 'onnx')
    return run_export(random_checkpoint_path, tmp_path_factory.mktemp('random'), *argv)


@pytest.fixture(scope='module')
def shipped(tmp_path_factory):
    return run_export(default_checkpoint_path(), tmp_path_factory.mktemp('shipped'))


@pytest.fixture(scope='module')
def narrow_with_context(tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'narrow.safetensors'
    model = model_of(RoadFCNConfig(context=True, width=0.25, overlap=True))
    save_checkpoint(Checkpoint(model, InputRule(pixels=64 * 96)), path)
    argv = ('--checkpoint', str(path))
    return run_export(path, tmp_path_factory.mktemp('narrow'), *argv)


@pytest.fixture
def instant(monkeypatch, shipped):
    """Let export return the model of the shipped checkpoint at once."""
    monkeypatch.setattr(onnx_export, '_onnx_model', lambda checkpoint: onnx.load(shipped.path))


def mask_as_of_the_network(model, frames, threshold=None):
    """Return ONNX's mask, after checking it against that of the network itself.

    The default threshold is the median of p(road), the hardest one.
    """
    (p_road,) = model.session.run(None, {'frames_rgb': frames})
    with torch.inference_mode():
        expected = model.checkpoint.model(torch.from_numpy(frames))[:, 1].numpy()
    assert p_road.shape == expected.shape
    assert p_road.dtype == np.float32
    assert p_road.min() >= 0
    assert p_road.max() <= 1
    threshold = threshold or np.median(expected)
    differs = (p_road >= threshold) != (expected >= threshold)
    assert differs.sum() <= math.ceil(differs.size / 100_000)
    assert np.abs(expected[differs] - threshold).max(initial=0) < 1e-5
    assert np.abs(p_road - expected).max() < 1e-5
    return p_road >= threshold


def refused(match, *argv):
    with pytest.raises(SystemExit, match=match) as end:
        export.main(argv)
    assert '\n' not in end.value.code


@pytest.mark.parametrize(
    'shape', [(1, 33, 70), (1, 160, 512), (1, 256, 256), (2, 64, 96), (1, 1, 1), (3, 1, 40)]
)
def test_random_checkpoint_gives_the_same_mask_at_any_size(random, shape):
    n, h, w = shape
    frames = np.random.default_rng(h).integers(0, 256, (n, 3, h, w), np.uint8)
    mask = mask_as_of_the_network(random, frames)
    assert mask.size < 100 or 0.4 < mask.mean() < 0.6


@pytest.mark.parametrize('frame_hw', [(64, 96), (33, 70)])
def test_narrow_network_with_context_gives_the_same_mask(narrow_with_context, frame_hw):
    frames = np.random.default_rng(1).integers(0, 256, (1, 3, *frame_hw), np.uint8)
    assert 0.3 < mask_as_of_the_network(narrow_with_context, frames).mean() < 0.8


@pytest.mark.parametrize('frame_hw', [(160, 512), (203, 330)])
def test_shipped_checkpoint_gives_the_same_mask_of_a_rendered_frame(shipped, frame_hw):
    frame_bgr, label = SyntheticDrive(3, frame_hw).render(1.0)
    frame = np.ascontiguousarray(frame_bgr[..., ::-1].transpose(2, 0, 1))
    (mask,) = mask_as_of_the_network(shipped, frame[None], shipped.checkpoint.threshold)
    road = label == 1
    assert (mask & road).sum() > 0.7 * (mask | road).sum()


def test_ports_have_names_types_and_symbolic_sizes(random):
    (frames,), (p_road,) = random.session.get_inputs(), random.session.get_outputs()
    assert (frames.name, frames.type) == ('frames_rgb', 'tensor(uint8)')
    assert frames.shape == ['N', 3, 'H', 'W']
    assert (p_road.name, p_road.type) == ('p_road', 'tensor(float)')
    assert p_road.shape == ['N', 'H', 'W']


def test_metadata_contain_the_origin_and_the_input_rule(shipped):
    metadata = shipped.session.get_modelmeta().custom_metadata_map
    checkpoint = shipped.checkpoint
    assert json.loads(metadata.pop('input_rule')) == {
        'pixels': checkpoint.input_rule.pixels,
        'fixed_hw': None,
    }
    assert json.loads(metadata.pop('class_names')) == ['background', 'road']
    assert float(metadata.pop('threshold')) == checkpoint.threshold
    assert metadata == {
        'checkpoint_sha256': checkpoint.sha256,
        'training_data': checkpoint.provenance.training_data,
        'licence': checkpoint.provenance.licence,
        'package_version': __version__,
    }


def test_file_is_named_after_the_checkpoint_and_is_complete_and_readable(random, shipped):
    assert random.path.name == 'random.onnx'
    assert shipped.path.name == 'road_fcn8.onnx'
    assert shipped.path.stat().st_mode & 0o777 == 0o644
    assert shipped.path.stat().st_size > 60_000_000


def test_command_prints_path_size_and_difference_in_one_line(shipped):
    path, size, difference = (
        shipped.printed.split(': ')[0],
        float(shipped.printed.split()[1]),
        float(shipped.printed.split('at most ')[1].split()[0]),
    )
    assert path == shipped.path.name
    assert size == round(shipped.path.stat().st_size / 1e6, 1)
    assert 0 <= difference < 1e-4
    assert shipped.printed.count('\n') == 1


def test_file_names_no_folder_of_the_machine_that_wrote_it(shipped):
    model = onnx.load(shipped.path)
    # Any three bytes may turn up among the weights.
    model.graph.ClearField('initializer')
    assert b'.py' not in model.SerializeToString()
    assert not any(node.metadata_props for node in model.graph.node)


def test_file_that_gives_another_mask_is_refused(instant, random_checkpoint_path, tmp_path):
    refused(
        r'export: p\(road\) in ONNX differs by .*, more than 0.001; try other versions',
        *('--checkpoint', str(random_checkpoint_path), '--out', str(tmp_path / 'm.onnx')),
    )
    assert not list(tmp_path.iterdir())


def test_existing_file_is_kept_and_the_network_not_even_loaded(tmp_path):
    path = tmp_path / 'm.onnx'
    path.write_bytes(b'earlier')
    refused(
        'export: .*m.onnx exists already; use another name, or remove it',
        *('--checkpoint', str(tmp_path / 'none.safetensors'), '--out', str(path)),
    )
    assert path.read_bytes() == b'earlier'


def test_disk_that_takes_half_of_the_file_leaves_nothing(instant, tmp_path):
    path = tmp_path / 'm.onnx'
    with file_size_limit(30_000_000):
        refused('export: .*File too large', '--out', str(path))
    assert not list(tmp_path.iterdir())


def test_interrupted_check_leaves_no_file(instant, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('onnx.checker.check_model', interrupted)
    assert export.main(['--out', str(tmp_path / 'm.onnx')]) == 130
    assert capsys.readouterr().err == 'export: interrupted\n'
    assert not list(tmp_path.iterdir())


def test_without_onnxruntime_it_says_that_nothing_was_compared(
    instant, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert export.main(['--out', str(tmp_path / 'm.onnx')]) == 0
    assert 'not compared with PyTorch: onnxruntime is not installed' in capsys.readouterr().out
    assert (tmp_path / 'm.onnx').exists()


@pytest.mark.parametrize('package', ['onnx', 'onnxscript'])
def test_missing_package_is_one_line_with_the_remedy(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    refused(
        rf'export: ONNX cannot be written \(.*{package}.*\); pip install onnx onnxscript',
        *('--out', str(tmp_path / 'm.onnx')),
    )


def test_missing_checkpoint_is_one_line(tmp_path):
    refused(
        r'export: .*none.safetensors does not exist',
        *('--checkpoint', str(tmp_path / 'none.safetensors'), '--out', str(tmp_path / 'm.onnx')),
    )


@pytest.mark.parametrize('out', ['model', 'model.safetensors', 'none/model.onnx', 'folder.onnx'])
def test_output_that_is_not_an_onnx_file_in_a_folder_is_refused_at_once(out, tmp_path):
    (tmp_path / 'folder.onnx').mkdir()
    refused(r'is not a .onnx file in an existing folder; give one', '--out', str(tmp_path / out))


def test_unknown_format_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        export.main(['--format', 'tflite'])
    assert end.value.code == 2
    assert "invalid choice: 'tflite'" in capsys.readouterr().err
