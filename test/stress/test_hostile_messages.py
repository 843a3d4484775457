"""Hostile messages, over DDS, to a live node in a process of its own."""

import pytest
from sensor_msgs.msg import CompressedImage, Image

from test.helpers.hostile_calibration import throw_camera_infos
from test.helpers.hostile_camera import BATCH, NODE, draw_each, throw_at_node
from test.helpers.hostile_messages import camera_infos
from test.helpers.message_checks import has_ground

pytestmark = pytest.mark.stress

# The first batches fill the allocator's pools.
WARM_BATCHES = 3
MAX_GROWTH = 1.01


@pytest.mark.parametrize(
    ('name', 'image_type', 'count'),
    [
        ('images', Image, 25_000),
        ('images_beyond_repair', Image, 25_000),
        ('compressed_images', CompressedImage, 25_000),
        ('compressed_images_beyond_repair', CompressedImage, 20_000),
    ],
)
def test_node_counts_each_bad_message_and_segments_the_next_good_one(
    connected, times, report, name, image_type, count
):
    transport = 'raw' if image_type is Image else 'compressed'
    node, peer = connected(
        *(*NODE, '-p', f'image_transport:={transport}'),
        topics=('mask',),
        image_type=image_type,
        depth=2 * BATCH,
    )
    outcome = throw_at_node(node, peer, name, times(count))
    rss_mib = outcome.rss_mib
    assert max(rss_mib) <= MAX_GROWTH * max(rss_mib[:WARM_BATCHES])
    readable = outcome.thrown - outcome.refused
    report(
        f'{name.replace("_", " ")}, over DDS to the node',
        outcome.thrown,
        f'{outcome.refused:,} refused and counted, {readable:,} readable and segmented; '
        f'{len(rss_mib)} good frames in between: the right mask; '
        f'RSS {rss_mib[0]} MiB after the first of them, {max(rss_mib)} at most',
    )


def test_node_finds_the_ground_or_counts_the_frame_for_any_calibration(start_node, times, report):
    outcome = throw_camera_infos(start_node, times(5_000))
    rss_mib = outcome.rss_mib
    assert max(rss_mib) <= MAX_GROWTH * max(rss_mib[:WARM_BATCHES])
    report(
        'camera infos, over DDS to the node',
        outcome.thrown,
        f'{outcome.refused:,} refused and counted, {outcome.thrown - outcome.refused:,} gave a '
        f'grid; the right mask each time; {len(rss_mib)} good ones in between: the right grid; '
        f'RSS {rss_mib[0]} MiB after the first of them, {max(rss_mib)} at most',
    )


def test_camera_info_gives_a_view_of_the_ground_or_is_refused(times, report):
    found = []

    def take(msg):
        found.extend(has_ground(msg, rectified=rectified) for rectified in (False, True))

    count = times(5_000)
    for number, begin in enumerate(range(0, count, BATCH)):
        draw_each(camera_infos(), min(BATCH, count - begin), number, take)
    report(
        'camera infos, in this process',
        len(found),
        f'{found.count(False):,} refused, {found.count(True):,} gave a view of the ground',
    )
