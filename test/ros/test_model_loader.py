import re
import threading
from concurrent.futures import CancelledError
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rclpy.logging import get_logger

from fcn_road_seg.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import Provenance
from fcn_road_seg.ros import model_loader
from fcn_road_seg.ros.model_loader import load_in_background, load_model, wait_for_model
from fcn_road_seg.ros.node_parameters import NodeParameters
from fcn_road_seg.ros.parameters import PARAMETERS

LOGGER = get_logger('test_model_loader')


def parameters_with(**changes):
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    return NodeParameters(**{**defaults, 'device': 'cpu', **changes})


def test_loaded_model_is_that_of_the_checkpoint(random_checkpoint_path):
    parameters = parameters_with(checkpoint=str(random_checkpoint_path))
    loading = load_in_background(parameters, LOGGER)
    model = wait_for_model(loading, lambda: False)
    assert loading.done()
    assert str(model.segmenter.device) == 'cpu'
    assert model.segmenter.threshold == model.checkpoint_threshold == 0.5


def test_precision_and_the_reason_for_it_are_one_line_of_the_log(random_checkpoint_path):
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lines.append)
    checkpoint = str(random_checkpoint_path)
    load_model(parameters_with(checkpoint=checkpoint, precision='float32'), logger)
    assert lines.count('precision float32: requested explicitly') == 1


@pytest.mark.parametrize(('checkpoint', 'times'), [('', 1), ('lite', 0)])
def test_light_network_is_named_where_the_default_one_is_slow(checkpoint, times):
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lines.append)
    load_model(parameters_with(checkpoint=checkpoint, precision='float32'), logger)
    assert lines.count('faster here: checkpoint lite, about a tenth of the time') == times


def test_licence_and_hash_of_the_checkpoint_are_in_the_log(random_checkpoint, tmp_path):
    path = tmp_path / 'c.safetensors'
    provenance = Provenance('some frames', 'research only\n[FATAL] no line of the log')
    save_checkpoint(replace(random_checkpoint, provenance=provenance), path)
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lines.append)
    model = load_model(parameters_with(checkpoint=str(path), precision='float32'), logger)
    assert (
        lines.count('licence of its training data: research only [FATAL] no line of the log') == 1
    )
    sha256 = load_checkpoint(path).sha256
    assert model.segmenter.checkpoint_sha256 == sha256
    assert sum(f'{path} ({sha256[:12]})' in line for line in lines) == 1


def test_parameters_override_the_checkpoints_threshold_and_paint(random_checkpoint_path):
    parameters = parameters_with(
        checkpoint=str(random_checkpoint_path),
        threshold=0.25,
        overlay_color=[1, 2, 3],
        overlay_alpha=0.75,
    )
    model = load_model(parameters, LOGGER)
    assert model.segmenter.threshold == 0.25
    assert model.segmenter.overlay_style.color_rgb == (1, 2, 3)
    assert model.segmenter.overlay_style.alpha == 0.75


def test_threshold_of_zero_goes_back_to_the_checkpoints(random_checkpoint_path):
    checkpoint = str(random_checkpoint_path)
    model = load_model(parameters_with(checkpoint=checkpoint, threshold=0.25), LOGGER)
    model.apply(parameters_with(checkpoint=checkpoint))
    assert model.segmenter.threshold == 0.5


def test_lite_is_the_light_checkpoint_of_the_package(installed_lite):
    model = load_model(parameters_with(checkpoint='lite'), LOGGER)
    assert model.segmenter.checkpoint_sha256 == load_checkpoint(installed_lite).sha256


def test_missing_light_checkpoint_is_named(installed_lite):
    installed_lite.unlink()
    with pytest.raises(CheckpointError, match=r'^the lite checkpoint .* is not installed; give'):
        load_model(parameters_with(checkpoint='lite'), LOGGER)


@pytest.mark.parametrize(
    'name', ['$(touch made)', '`touch made`', 'a; touch made', '%s{0}', f'{"../" * 40}nowhere']
)
def test_checkpoint_parameter_is_a_path_and_nothing_else(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f'^{re.escape(name)} does not exist; give the path'):
        load_model(parameters_with(checkpoint=name), LOGGER)
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match='is a folder; give the path of a'):
        load_model(parameters_with(checkpoint=str(tmp_path)), LOGGER)


def test_file_that_is_no_checkpoint_is_refused_without_telling_what_is_in_it(tmp_path):
    path = tmp_path / 'key.pem'
    path.write_text('secret key ' * 100)
    with pytest.raises(CheckpointError, match='is not a readable safetensors file') as error:
        load_model(parameters_with(checkpoint=str(path)), LOGGER)
    assert 'secret' not in str(error.value)


def test_error_of_loading_is_raised_where_it_is_waited_for():
    loading = load_in_background(parameters_with(checkpoint='/nowhere.safetensors'), LOGGER)
    with pytest.raises(CheckpointError, match=r'/nowhere\.safetensors does not exist'):
        wait_for_model(loading, lambda: False)


def test_wait_ends_when_it_is_cancelled_while_the_model_still_loads(monkeypatch):
    end = threading.Event()
    monkeypatch.setattr(model_loader, 'load_model', lambda *_: end.wait(30))
    loading = load_in_background(parameters_with(), LOGGER)
    cancelled = iter([False, True])
    with pytest.raises(CancelledError):
        wait_for_model(loading, lambda: next(cancelled))
    assert not loading.done()
    end.set()
