import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from fcn_road_seg.live.diagnostics_listener import DiagnosticsListener, frames_between, values_of
from test.helpers.peer import Peer

NAME = '/here/fcn_road_seg: segmentation'


@pytest.fixture
def peer():
    peer = Peer(namespace='here', topics=())
    yield peer
    peer.close()


@pytest.fixture
def publish(peer):
    publisher = peer.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
    return lambda *names: publisher.publish(
        DiagnosticArray(status=[DiagnosticStatus(name=name) for name in names])
    )


def test_silent_node_is_not_waited_for(peer):
    listener = DiagnosticsListener(peer.node)
    with pytest.raises(TimeoutError, match=r'no diagnostics for 0\.3 s'):
        listener.next(lambda: time.sleep(0.05), timeout_s=0.3)


def test_only_the_node_of_its_own_namespace_is_heard(peer, publish):
    listener = DiagnosticsListener(peer.node)
    publish('/there/fcn_road_seg: segmentation', NAME, 'camera')
    peer.spin_until(lambda: listener.statuses)
    assert [status.name for status in listener.statuses] == [NAME]


def test_status_that_may_have_been_under_way_is_not_the_next_one(peer, publish):
    listener = DiagnosticsListener(peer.node)
    before = len(listener.statuses)

    def spin_once():
        publish(NAME)
        peer.spin_for(0.05)

    assert listener.next(spin_once, timeout_s=30) is listener.statuses[-1]
    assert len(listener.statuses) >= before + 2


def test_values_are_found_by_their_keys():
    status = DiagnosticStatus(values=[KeyValue(key='a', value='1'), KeyValue(key='b', value='2')])
    assert values_of(status) == {'a': '1', 'b': '2'}


def test_frames_between_two_statuses_are_the_differences_of_their_counts():
    before = {
        'frames received': '5',
        'frames segmented': '3',
        'frames dropped': '1',
        'frames refused': '1',
    }
    after = {**before, 'frames received': '9', 'frames dropped': '4', 'device': 'cpu'}
    assert frames_between(before, after) == {
        'frames_received': 4,
        'frames_segmented': 0,
        'frames_dropped': 3,
        'frames_refused': 0,
    }
