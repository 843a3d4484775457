"""The short version of test/stress/test_load.py."""

import pytest

from test.helpers.load import (
    growth,
    latencies_each_ms,
    live_nodes,
    overload,
    receive_share,
    soak,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def nodes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('load')
    network = ['checkpoint:=lite', 'input_height:=96', 'input_width:=320']
    parameters = [*network, 'device:=cpu', 'precision:=float32']
    with live_nodes(['left', 'front', 'right'], parameters, (96, 320), folder) as nodes:
        yield nodes


def test_every_frame_of_an_overload_is_counted(nodes):
    seen = overload(nodes[0], seconds=2.0)
    counts = seen.counts
    assert seen.sent == counts['received'] + counts['lost']
    assert counts['received'] == counts['segmented'] + counts['dropped']
    assert 0 < counts['segmented'] < seen.sent / 2


def test_no_camera_of_three_starves(nodes):
    each_ms = latencies_each_ms(nodes, rate_hz=5.0, seconds=3.0)
    assert min(len(latencies_ms) for latencies_ms in each_ms) >= 8


def test_soak_leaves_threads_and_files_as_they_were(nodes, monkeypatch):
    monkeypatch.setattr('test.helpers.load.PIECE_S', 1.0)
    samples = soak(nodes[1], frames=60)
    assert growth(samples, 'threads') == growth(samples, 'files') == 1
    assert growth(samples, 'rss_mib') < 1.05


def test_frames_that_nobody_wants_cost_little(nodes):
    # Last: the node has no listener afterwards.
    assert receive_share(nodes[2], rate_hz=50.0, seconds=2.0) < 0.5
