import shutil
from pathlib import Path

import pytest

from fcn_road_seg.model import shipped_checkpoints
from fcn_road_seg.model.checkpoint import CheckpointError
from fcn_road_seg.model.shipped_checkpoints import (
    FILE_NAMES,
    checkpoint_path,
    default_checkpoint_path,
)

INSTALLATIONS = [
    # A wheel or colcon's merged install space, colcon's isolated one, a checkout.
    ('lib/python3.12/site-packages/fcn_road_seg/model', 'share/fcn_road_seg/weights'),
    ('local/lib/python3.12/dist-packages/fcn_road_seg/model', 'share/fcn_road_seg/weights'),
    ('fcn_road_seg/model', 'resource/weights'),
]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that lays out an installation with some weights; it returns their folder.

    The module then believes to be part of it.
    """

    def lay_out(code='fcn_road_seg/model', weights='resource/weights', names=()):
        (tmp_path / code).mkdir(parents=True)
        (tmp_path / weights).mkdir(parents=True)
        monkeypatch.setattr(shipped_checkpoints, '__file__', str(tmp_path / code / 'module.py'))
        for name in names:
            (tmp_path / weights / name).touch()
        return tmp_path / weights

    return lay_out


@pytest.mark.parametrize(('code', 'weights'), INSTALLATIONS)
@pytest.mark.parametrize(
    ('name', 'file_name'), [('', 'road_fcn8.safetensors'), ('lite', 'road_fcn8_lite.safetensors')]
)
def test_name_is_the_file_of_the_installation(install, code, weights, name, file_name):
    folder = install(code, weights, FILE_NAMES.values())
    assert checkpoint_path(name) == folder / file_name


def test_module_may_be_a_link_to_a_file_elsewhere(install, tmp_path_factory):
    folder = install(*INSTALLATIONS[0], FILE_NAMES.values())
    target = tmp_path_factory.mktemp('cache') / 'module.py'
    target.touch()
    Path(shipped_checkpoints.__file__).symlink_to(target)
    assert checkpoint_path('lite') == folder / 'road_fcn8_lite.safetensors'


def test_default_checkpoint_is_the_full_one(install):
    folder = install(names=FILE_NAMES.values())
    assert default_checkpoint_path() == folder / 'road_fcn8.safetensors'


@pytest.mark.parametrize(('name', 'called'), [('', 'default'), ('lite', 'lite')])
def test_name_without_its_file_is_one_line_with_a_remedy(install, name, called):
    install(names=[FILE_NAMES[other] for other in FILE_NAMES if other != name])
    with pytest.raises(CheckpointError) as refused:
        checkpoint_path(name)
    assert str(refused.value) == (
        f'the {called} checkpoint {FILE_NAMES[name]} is not installed; give another with '
        '`checkpoint`'
    )


def test_name_is_not_a_file_of_that_name_in_the_working_directory(install, tmp_path, monkeypatch):
    folder = install(names=FILE_NAMES.values())
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(folder / 'road_fcn8.safetensors', 'lite')
    assert checkpoint_path('lite') == folder / 'road_fcn8_lite.safetensors'


@pytest.mark.parametrize('file', ['./lite', 'weights/lite', Path('lite'), '/a/b.safetensors', 'l'])
def test_everything_else_is_the_path_of_a_file(install, file):
    install(names=FILE_NAMES.values())
    assert checkpoint_path(file) == Path(file)


def test_default_checkpoint_is_in_the_checkout():
    weights = Path(__file__).parents[2] / 'resource/weights'
    assert default_checkpoint_path() == weights / 'road_fcn8.safetensors'
