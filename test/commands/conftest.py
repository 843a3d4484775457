import pytest

from fcn_road_seg.commands import train
from test.helpers.easy_data import TINY, write_easy_data


@pytest.fixture(scope='session')
def easy_data(tmp_path_factory):
    return write_easy_data(tmp_path_factory.mktemp('easy'))


@pytest.fixture(scope='session')
def short_run(easy_data, tmp_path_factory):
    """The folder of a run of two steps, and the arguments that gave it."""
    out = tmp_path_factory.mktemp('short') / 'run'
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '1']
    arguments += ['--val-every', '1', '--without', 'ema']
    train.main([*arguments, '--steps', '2', '--out', str(out)])
    return out, arguments
