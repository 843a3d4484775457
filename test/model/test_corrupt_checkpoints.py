"""Damaged and forged checkpoint files; `make stress` makes a thousand of them."""

from random import Random

import pytest

from fcn_road_seg.model.checkpoint_file import MAX_FILE_BYTES, CheckpointError, read_checkpoint
from test.helpers.corrupt_checkpoints import DAMAGES, FORGERIES, forge, write_narrow_checkpoint


@pytest.fixture(scope='module')
def narrow_checkpoint_path(tmp_path_factory):
    return write_narrow_checkpoint(tmp_path_factory.mktemp('narrow') / 'narrow.safetensors')


def refusal_of(path):
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    return text


@pytest.mark.parametrize('damage', dict.fromkeys(DAMAGES), ids=lambda damage: damage.__name__)
def test_damaged_file_is_refused_in_one_line(narrow_checkpoint_path, tmp_path, damage):
    stored = narrow_checkpoint_path.read_bytes()
    path = tmp_path / 'damaged.safetensors'
    for seed in range(5):
        path.write_bytes(damage(stored, Random(seed)))
        refusal_of(path)


@pytest.mark.parametrize('forgery', FORGERIES)
def test_forged_file_is_refused_in_one_line_though_its_digests_match(
    narrow_checkpoint_path, tmp_path, forgery
):
    path = tmp_path / 'forged.safetensors'
    forge(path, FORGERIES[forgery], narrow_checkpoint_path)
    assert 'does not describe a network: ' in refusal_of(path)


def test_forgery_that_changes_nothing_is_read(narrow_checkpoint_path, tmp_path):
    path = tmp_path / 'same.safetensors'
    forge(path, lambda content, tensors: None, narrow_checkpoint_path)
    assert read_checkpoint(path).sha256 == read_checkpoint(narrow_checkpoint_path).sha256


def test_file_larger_than_any_network_is_refused_unread(narrow_checkpoint_path, tmp_path):
    path = tmp_path / 'large.safetensors'
    path.write_bytes(narrow_checkpoint_path.read_bytes())
    with path.open('r+b') as file:
        # Takes no space on the disk.
        file.truncate(MAX_FILE_BYTES + 1)
    assert 'more than any network' in refusal_of(path)
