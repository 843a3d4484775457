import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import CheckpointError
from fcn_road_seg.model.input_rule import InputRule
from test.helpers.full_disk import file_size_limit


def test_saved_and_loaded_model_gives_the_same_scores(random_model, random_checkpoint_path):
    frames = torch.rand(1, 3, 64, 96)
    loaded = load_checkpoint(random_checkpoint_path).model
    assert not loaded.training
    assert torch.equal(loaded.scores(frames), random_model.scores(frames))


@pytest.mark.parametrize('device', ['cpu', 'meta'])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_loaded_model_is_float32_on_the_cpu_whatever_the_defaults_of_pytorch(
    random_model, random_checkpoint_path, dtype, device
):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            loaded = load_checkpoint(random_checkpoint_path).model
    finally:
        torch.set_default_dtype(before)
    frames = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    assert torch.equal(loaded.scores(frames), random_model.scores(frames))


def test_float16_halves_the_file_and_hardly_changes_the_scores(
    random_checkpoint, random_checkpoint_path, tmp_path
):
    path = tmp_path / 'half.safetensors'
    save_checkpoint(random_checkpoint, path, torch.float16)
    assert path.stat().st_size < 0.51 * random_checkpoint_path.stat().st_size
    loaded = load_checkpoint(path).model
    frames = torch.rand(1, 3, 64, 64)
    expected = random_checkpoint.model.scores(frames)
    assert next(loaded.parameters()).dtype == torch.float32
    assert torch.allclose(loaded.scores(frames), expected, atol=0.01 * expected.abs().max())


def test_full_disk_is_an_os_error_of_one_line_and_leaves_nothing(random_checkpoint, tmp_path):
    said = r'a.safetensors cannot .* too large'
    with file_size_limit(100_000), pytest.raises(OSError, match=said) as raised:
        save_checkpoint(random_checkpoint, tmp_path / 'a.safetensors')
    assert '\n' not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_variance_too_large_for_float16_survives_it(random_model, tmp_path):
    model = copy.deepcopy(random_model)
    model.decoder.norms[0].running_var.fill_(104_986.0)
    save_checkpoint(Checkpoint(model, InputRule(pixels=6144)), tmp_path / 'a', torch.float16)
    loaded = load_checkpoint(tmp_path / 'a').model
    assert (loaded.decoder.norms[0].running_var == 104_986.0).all()


def test_weights_are_stored_in_float16_if_asked(random_model, tmp_path):
    save_checkpoint(
        Checkpoint(random_model, InputRule(pixels=6144)), tmp_path / 'a', torch.float16
    )
    tensors = load_file(tmp_path / 'a')
    assert {t.dtype for t in tensors.values() if t.ndim > 1} == {torch.float16}


def test_failed_save_leaves_the_earlier_file(random_checkpoint, tmp_path, monkeypatch):
    path = tmp_path / 'c.safetensors'
    path.write_bytes(b'earlier')

    def full_disk(*args, **kwargs):
        raise OSError('No space left on device')

    monkeypatch.setattr('fcn_road_seg.model.checkpoint.save_file', full_disk)
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint(random_checkpoint, path)
    assert path.read_bytes() == b'earlier'


def test_network_whose_scores_overflow_is_refused(random_checkpoint, tmp_path):
    model = copy.deepcopy(random_checkpoint.model)
    for layer in model.encoder.features[:10]:
        for parameter in layer.parameters():
            parameter.mul_(1e11)
    path = tmp_path / 'c.safetensors'
    save_checkpoint(replace(random_checkpoint, model=model), path)
    with pytest.raises(CheckpointError, match=r'c\.safetensors does not .* scores .* not finite'):
        load_checkpoint(path)
