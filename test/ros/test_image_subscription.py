import signal

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.ros import image_subscription
from fcn_road_seg.ros.image_subscription import ImageSubscription, known_names
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.peer import Peer, pixels_of, values_of

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def started(start_node, random_checkpoint_path):
    """Start a node on random weights, and a peer: `node, peer = started('-p', 'a:=1')`."""
    peers = []

    def start(*ros_args, **peer_args):
        node = start_node('-p', f'checkpoint:={random_checkpoint_path}', *ros_args)
        peers.append(Peer(**peer_args))
        return node, peers[-1]

    yield start
    for peer in peers:
        peer.close()


def reliability(peer):
    return values_of(peer.next_diagnostics())['input reliability']


def test_reliability_follows_the_publisher_when_it_changes(started):
    _, peer = started(topics=('mask',), reliability='best_effort')
    peer.connect()
    assert reliability(peer) == 'best_effort'
    peer.offer('reliable')
    peer.spin_until(lambda: reliability(peer) == 'reliable')
    peer.connect()
    peer.answer(peer.send(FRAME))
    peer.offer('best_effort')
    peer.spin_until(lambda: reliability(peer) == 'best_effort')
    peer.received['mask'].clear()
    peer.connect()


def test_publisher_that_offers_too_little_is_named_in_a_warning_and_a_diagnostic(started):
    node, peer = started(
        '-p', 'input_reliability:=reliable', topics=('mask',), reliability='best_effort'
    )
    peer.spin_until(lambda: peer.diagnostics and 'peer' in peer.diagnostics[-1].message)
    status = peer.next_diagnostics()
    expected = '/peer offers /image with a reliability incompatible with the requested reliable'
    assert status.level == DiagnosticStatus.WARN
    assert expected in status.message
    assert values_of(status)['input reliability'] == 'reliable'
    # It is all well again once the publisher offers what was asked for.
    peer.offer('reliable')
    peer.connect()
    peer.spin_until(lambda: expected not in peer.next_diagnostics().message)
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    assert expected in node.log


@pytest.mark.parametrize('reliability', ['auto', 'reliable'])
def test_override_that_no_publisher_fits_is_named_with_the_remedy(started, reliability):
    name = 'qos_overrides./image.subscription.durability'
    _, peer = started(
        *('-p', f'{name}:=transient_local', '-p', f'input_reliability:={reliability}'),
        topics=('mask',),
        reliability='reliable',
    )
    expected = f'/image with a durability incompatible with the requested one; remove {name}'
    peer.spin_until(lambda: peer.diagnostics and expected in peer.diagnostics[-1].message)
    # It is told for as long as it lasts.
    peer.spin_for(2.5)
    status = peer.next_diagnostics()
    assert status.level == DiagnosticStatus.WARN
    assert expected in status.message
    peer.node.destroy_publisher(peer._publisher)
    peer.spin_until(lambda: expected not in peer.next_diagnostics().message)


def test_publisher_is_not_named_before_its_name_is_known():
    found, unknown = (
        TopicEndpointInfo(node_name=name, node_namespace=namespace)
        for name, namespace in [
            ('driver', '/front'),
            ('_NODE_NAME_UNKNOWN_', '_NODE_NAMESPACE_UNKNOWN_'),
        ]
    )
    assert known_names([unknown]) == ''
    assert known_names([found, unknown]) == '/front/driver'


@pytest.fixture
def ros_node():
    """A node in this process."""
    rclpy.init(args=[])
    node = rclpy.create_node('receiver', namespace='/here')
    yield node
    # Otherwise the later tests in this process would still see its topics.
    node.destroy_node()
    rclpy.try_shutdown()


def wait_for_hint(received, camera_topic):
    """Let a camera offer images until `received`, an ImageSubscription, has a hint."""
    camera = rclpy.create_node('camera', use_global_arguments=False)
    camera.create_publisher(Image, camera_topic, 1)
    for _ in range(100):
        rclpy.spin_once(received._node, timeout_sec=0.1)
        if received.hint:
            break
    camera.destroy_node()


def test_images_arrive_where_rclpy_passes_nothing_but_the_message(ros_node, monkeypatch):
    # As in Humble, which does not count the publishers either.
    monkeypatch.setattr(image_subscription, 'PASSES_MESSAGE_INFO', False, raising=False)
    monkeypatch.delattr(Subscription, 'get_publisher_count', raising=False)
    images, lost = [], []
    ImageSubscription(ros_node, images.append, lost.append, 'raw', 'reliable', keep_all=False)
    publisher = ros_node.create_publisher(Image, 'image', 1)
    for _ in range(100):
        publisher.publish(Image(width=7))
        rclpy.spin_once(ros_node, timeout_sec=0.1)
        if len(images) == 2:
            break
    assert [image.width for image in images] == [7, 7]
    assert lost == []


def test_own_output_is_not_proposed_as_the_camera(ros_node):
    ros_node.create_publisher(Image, '/painted', 1)
    received = ImageSubscription(ros_node, print, print, 'raw', 'auto', keep_all=False)
    for _ in range(2):
        received._on_timer()
    assert received.hint == ''
    wait_for_hint(received, '/camera')
    assert received.hint == (
        'nothing is published on /here/image; images are published on /camera'
    )


@pytest.mark.parametrize(
    ('rules', 'topic'),
    [(['image:=/nowhere'], '/nowhere'), (['image:=/a', '/a:=/here/image'], '/a')],
)
def test_camera_on_a_topic_that_a_rule_renames_is_proposed(rules, topic):
    rclpy.init(args=['--ros-args', *(arg for rule in rules for arg in ('-r', rule))])
    node = rclpy.create_node('receiver', namespace='/here')
    received = ImageSubscription(node, print, print, 'raw', 'auto', keep_all=False)
    wait_for_hint(received, '/here/image')
    node.destroy_node()
    rclpy.try_shutdown()
    assert received.hint == (
        f'nothing is published on {topic}; images are published on /here/image'
    )


def test_reliability_of_the_input_can_be_overridden_as_any_qos_at_the_start_alone(started):
    name = 'qos_overrides./image.subscription.reliability'
    _, peer = started('-p', f'{name}:=reliable', reliability='reliable')
    peer.spin_until(lambda: peer.diagnostics)
    assert reliability(peer) == 'reliable'
    result = peer.set_parameter(name, string_value='best_effort')
    assert not result.successful
    assert 'read-only' in result.reason


def test_compressed_frames_give_the_masks_of_raw_ones(start_node):
    frame, _ = SyntheticDrive(3_000_003, (120, 160)).render(t_s=0.0)
    masks = []
    for transport, image_type in (('raw', None), ('compressed', CompressedImage)):
        start_node('-r', f'__ns:=/{transport}', '-p', f'image_transport:={transport}')
        kind = {} if image_type is None else {'image_type': image_type}
        peer = Peer(transport, ('mask',), **kind)
        peer.connect()
        (mask,) = peer.answer(peer.send(frame))
        masks.append(pixels_of(mask))
        peer.close()
    assert masks[0].any()
    assert np.array_equal(masks[0], masks[1])


def test_every_frame_comes_back_in_order_when_each_one_counts(started):
    _, peer = started(
        '-p', 'process_every_frame:=true', topics=('mask',), reliability='reliable', depth=200
    )
    peer.connect()
    peer.spin_until(lambda: reliability(peer) == 'reliable')
    first = peer.send(FRAME)
    for _ in range(149):
        last = peer.send(FRAME)
    peer.answer(last)
    came_back = [stamp for stamp in peer.received['mask'] if stamp >= first]
    assert came_back == list(range(first, last + 1))
    assert len(came_back) == 150


def test_override_that_is_no_reliability_is_told_in_one_line(start_node, random_checkpoint_path):
    name = 'qos_overrides./image.subscription.reliability'
    node = start_node('-p', f'checkpoint:={random_checkpoint_path}', '-p', f'{name}:=foo')
    assert node.wait(timeout_s=60) == 1
    (line,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert f"{name} 'foo' is unknown; use best_effort or reliable" in line


@pytest.mark.parametrize(
    ('rules', 'topic'),
    [
        (['image:=/a', '/a:=/b'], '/a'),
        (['image:=/a'], '/a'),
        (['/image:=/b'], '/b'),
    ],
)
def test_topic_told_is_the_one_subscribed(started, rules, topic):
    node, peer = started(*(arg for rule in rules for arg in ('-r', rule)))
    peer.spin_until(lambda: peer.diagnostics)
    assert values_of(peer.next_diagnostics())['input topic'] == topic
    assert '/fcn_road_seg' in subscribers(peer, topic)
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    assert f'waiting for frames on {topic}\n' in node.log


@pytest.mark.parametrize(
    ('rules', 'topic'),
    [
        (['image/compressed:=/jpeg'], '/jpeg'),
        (['image:=/a', '/a/compressed:=/jpeg'], '/jpeg'),
        (['image:=/a'], '/a/compressed'),
        (['image:=/a', 'image/compressed:=/jpeg'], '/jpeg'),
    ],
)
def test_compressed_topic_told_is_the_one_subscribed(started, rules, topic):
    name = f'qos_overrides.{topic}.subscription.reliability'
    _, peer = started(
        *(arg for rule in rules for arg in ('-r', rule)),
        *('-p', 'image_transport:=compressed', '-p', f'{name}:=reliable'),
    )
    peer.spin_until(lambda: peer.diagnostics)
    values = values_of(peer.next_diagnostics())
    assert (values['input topic'], values['input reliability']) == (topic, 'reliable')
    assert '/fcn_road_seg' in subscribers(peer, topic)


def subscribers(peer, topic):
    infos = peer.node.get_subscriptions_info_by_topic(topic)
    return [f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in infos]


def test_argument_to_change_is_told_when_only_compressed_images_are_published(started):
    node, peer = started(image_type=CompressedImage)
    hint = (
        '/image/compressed is published as sensor_msgs/msg/CompressedImage; '
        'set image_transport to compressed'
    )
    peer.spin_until(
        lambda: peer.diagnostics and peer.diagnostics[-1].message == f'no frame yet: {hint}'
    )
    # Nothing is to be changed any more when raw images come.
    publisher = peer.node.create_publisher(Image, 'image', 1)
    peer.spin_until(lambda: peer.diagnostics[-1].message == 'no frame yet')
    peer.node.destroy_publisher(publisher)
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    assert node.log.count(f'no frames arrive: {hint}') == 1
