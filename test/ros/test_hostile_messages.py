"""A few of the messages that `make stress` throws at the node by the hundred thousand."""

from array import array
from random import Random

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.messages.image import ImageError, to_frame
from test.helpers.hostile_calibration import throw_camera_infos
from test.helpers.hostile_camera import NODE, throw_at_node
from test.helpers.peer import Peer


@pytest.mark.parametrize(
    ('transport', 'image_type'), [('raw', Image), ('compressed', CompressedImage)]
)
def test_node_counts_each_bad_message_and_segments_the_next_good_one(
    connected, transport, image_type
):
    name = 'images' if image_type is Image else 'compressed_images'
    transport = ('-p', f'image_transport:={transport}')
    node, peer = connected(*NODE, *transport, topics=('mask',), image_type=image_type, depth=200)
    assert throw_at_node(node, peer, name, 50).refused > 20
    assert throw_at_node(node, peer, f'{name}_beyond_repair', 50).refused == 50


def test_node_finds_the_ground_or_counts_the_frame_for_any_calibration(start_node):
    outcome = throw_camera_infos(start_node, 60)
    assert (outcome.thrown, outcome.refused > 20) == (60, True)


def damaged(packet, kind, random):
    """Return a serialized Image of bgr8 that is cut off, has another bit, text or length."""
    at = random.randrange(4, len(packet))
    if kind == 'cut':
        return packet[:at]
    if kind == 'bit':
        return packet[:at] + bytes([packet[at] ^ 1 << random.randrange(8)]) + packet[at + 1 :]
    if kind == 'text':
        return packet.replace(b'bgr8', bytes(random.choices(range(0x80, 0x100), k=4)))
    return packet[:-16] + (2**32 - 1).to_bytes(4, 'little') + packet[-12:]


def test_damaged_packets_end_in_the_middleware_or_are_messages_that_can_be_refused():
    peer = Peer(topics=())
    arrived = []
    peer.node.create_subscription(Image, 'image', arrived.append, 1000)
    peer.spin_until(peer.is_heard)
    msg = Image(encoding='bgr8', height=2, width=2, step=6, data=array('B', bytes(12)))
    packet = bytes(serialize_message(msg))
    random = Random(0)
    for _ in range(30):
        for kind in ('cut', 'bit', 'text', 'length'):
            peer.publish(damaged(packet, kind, random))
        peer.spin_for(0.01)
    peer.publish(packet)
    # Nothing of it raises in the executor, which would end the node.
    peer.spin_until(lambda: arrived and arrived[-1] == msg)
    assert 30 < len(arrived) < 90
    for bad in arrived:
        if bad.encoding != 'bgr8':
            with pytest.raises(ImageError, match='is not supported'):
                to_frame(bad)
    peer.close()
