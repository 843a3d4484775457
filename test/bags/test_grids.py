import numpy as np
import pytest

from fcn_road_seg.bags.grids import GridMaker
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError, header
from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from test.helpers.bag_files import STAMP_NS, camera_info, drive_images, write_bag

HW = (60, 200)
LEVEL = Mounting.from_angles(1.65, 0.0, 0.0)


@pytest.fixture
def bag(tmp_path):
    """Write a bag of two cameras, of which one is calibrated."""
    images = drive_images(1, HW)
    topics = {'/front/image_raw': images, '/rear/image_raw': images}
    return write_bag(tmp_path / 'bag', {**topics, '/front/camera_info': [camera_info(HW)]})


@pytest.mark.parametrize('camera', ['/front/image_raw', '/front/image_raw/compressed'])
def test_grid_is_the_probability_looked_up_by_the_camera_info_beside_the_images(bag, camera):
    probability = np.random.default_rng(0).integers(0, 256, HW, np.uint8)
    stamp = header(STAMP_NS, '').stamp
    with BagReader(bag) as reader:
        msg = GridMaker(reader, camera, LEVEL).message(STAMP_NS, stamp, probability)
    assert (msg.header.stamp, msg.header.frame_id) == (stamp, 'ground')
    assert (msg.info.width, msg.info.height, msg.info.resolution) == (400, 200, 0.1)
    assert (msg.info.origin.position.x, msg.info.origin.position.y) == (6, -10)
    turned = msg.info.origin.orientation
    assert (turned.x, turned.y, turned.z, turned.w) == (0, 0, 0, 1)
    matrix = np.reshape(camera_info(HW).k, (3, 3))
    expected = GroundView(Camera(matrix, HW), LEVEL, GroundGrid()).occupancy(probability)
    np.testing.assert_array_equal(msg.data, expected.reshape(-1))
    assert len(np.unique(msg.data)) > 10


def test_rows_that_the_segmenter_skips_are_unseen(bag):
    with BagReader(bag) as reader:
        maker = GridMaker(reader, '/front/image_raw', LEVEL, roi_top=0.6)
        msg = maker.message(STAMP_NS, header(STAMP_NS, '').stamp, np.zeros(HW, np.uint8))
    # Row 36 is 11 below the horizon: 1.65 * 120 / 11 = 18 m.
    row = msg.data.reshape(200, 400)[100]
    assert (row[:118] == 100).all()
    assert (row[122:] == -1).all()


def test_camera_without_camera_info_is_refused_with_the_topic(bag):
    text = (
        '--grid needs the calibration of /rear/image_raw, but the bag has no CameraInfo on '
        '/rear/camera_info; record it as well, or leave --grid out'
    )
    with BagReader(bag) as reader, pytest.raises(BagError, match=text):
        GridMaker(reader, '/rear/image_raw', LEVEL)


def test_frame_of_another_size_has_no_grid(bag):
    with BagReader(bag) as reader:
        maker = GridMaker(reader, '/front/image_raw', LEVEL)
        with pytest.raises(
            GroundError, match='camera_info is for 200 x 60 pixels, but the images'
        ):
            maker.message(STAMP_NS, header(STAMP_NS, '').stamp, np.zeros((60, 60), np.uint8))


@pytest.mark.parametrize(
    'changed',
    [
        {'k': np.array([60.0, 0, 100, 0, 60.0, 25.0, 0, 0, 1])},
        {'d': np.array([-0.3, 0, 0, 0, 0])},
    ],
)
def test_newest_calibration_at_the_time_of_a_frame_counts(tmp_path, changed):
    wide = camera_info(HW, **changed)
    wide.header = header(STAMP_NS + 50, 'camera')
    infos = [camera_info(HW), camera_info(HW), wide]
    images = drive_images(1, HW)
    bag = write_bag(tmp_path / 'bag', {'/image': images, '/camera_info': infos})
    probability = np.full(HW, 255, np.uint8)
    stamp = header(STAMP_NS, '').stamp
    with BagReader(bag) as reader:
        maker = GridMaker(reader, '/image', LEVEL)
        # Earlier than all, with the second, a moment before the third, with it, and back.
        seen = [
            np.count_nonzero(maker.message(STAMP_NS + after, stamp, probability).data == 0)
            for after in (-9, 0, 49, 50, 99, 0)
        ]
    assert seen[0] == seen[1] == seen[2] == seen[5] < seen[3] == seen[4]
