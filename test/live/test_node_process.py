import pytest

from fcn_road_seg.live.node_process import running_node
from test.helpers.peer import Peer


@pytest.fixture
def log(tmp_path):
    with (tmp_path / 'node.log').open('w') as file:
        yield file


def test_node_ends_with_status_0_after_the_block(log, tmp_path):
    peer = Peer(namespace='here', topics=())
    with running_node('here', ['autostart:=false'], log) as process:
        assert peer.state() == 'unconfigured'
    peer.close()
    assert process.returncode == 0
    assert 'Traceback' not in (tmp_path / 'node.log').read_text()


def test_node_ends_when_the_block_fails(log):
    with pytest.raises(ValueError, match='mine'), running_node('here', [], log) as process:
        raise ValueError('mine')
    assert process.returncode is not None


def test_node_that_cannot_start_leaves_its_status_and_its_reason(log, tmp_path):
    with running_node('here', ['device:=tpu'], log) as process:
        process.wait(60)
    assert process.returncode == 1
    assert "device 'tpu' is unknown" in (tmp_path / 'node.log').read_text()
