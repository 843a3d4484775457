"""A few of the messages that `make stress` throws at the node by the hundred thousand."""

import pytest
from sensor_msgs.msg import CompressedImage, Image

from test.helpers.hostile_camera import NODE, throw_at_node


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
