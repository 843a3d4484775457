"""What RViz is told to show: displays and fields that it has, topics and QoS that are offered."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import Image

from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS
from fcn_road_seg.ros.node import NODE_NAME
from fcn_road_seg.ros.parameters import PARAMETERS
from fcn_road_seg.ros.publishers import DEPTH, OUTPUTS
from test.helpers.rviz_displays import qos_of

CONFIG = yaml.safe_load((Path(__file__).parents[2] / 'config' / 'segment.rviz').read_text())
DISPLAYS = {d['Name']: d for d in CONFIG['Visualization Manager']['Displays']}
SHOWN_OUTPUTS = {'Mask': 'mask', 'Overlay': 'overlay', 'Grid': 'grid'}
IMAGES = {name: display for name, display in DISPLAYS.items() if name != 'Grid'}
# As RViz (Jazzy) saves an Image display and its topic; what it does not know it passes over.
DISPLAY_FIELDS = {
    'Class',
    'Enabled',
    'Max Value',
    'Median window',
    'Min Value',
    'Name',
    'Normalize Range',
    'Topic',
    'Value',
}
TOPIC_FIELDS = {'Depth', 'Durability Policy', 'History Policy', 'Reliability Policy', 'Value'}
# As in RViz's own configurations; properties that are left out keep their defaults.
MAP_FIELDS = {
    'Alpha',
    'Class',
    'Color Scheme',
    'Draw Behind',
    'Enabled',
    'Name',
    'Topic',
    'Update Topic',
    'Use Timestamp',
    'Value',
}
each_image = pytest.mark.parametrize('display', IMAGES.values(), ids=IMAGES)


def test_displays_are_the_camera_and_outputs_of_the_node_under_their_default_names():
    topics = {name: display['Topic']['Value'] for name, display in DISPLAYS.items()}
    outputs = {name: f'/{NODE_NAME}/{output}' for name, output in SHOWN_OUTPUTS.items()}
    assert topics == {'Camera': '/image', **outputs}


def test_outputs_shown_are_such_as_their_displays_take():
    # A topic of /compressed would be subscribed through another transport.
    types = [{**OUTPUTS, **GROUND_OUTPUTS}[output].type for output in SHOWN_OUTPUTS.values()]
    assert types == [Image, Image, OccupancyGrid]


def test_grid_is_a_map_of_the_vehicle_that_is_off_as_not_every_camera_has_one():
    display = DISPLAYS['Grid']
    assert display['Class'] == 'rviz_default_plugins/Map'
    assert set(display) == MAP_FIELDS
    assert (display['Enabled'], display['Value']) == (False, False)
    assert set(display['Topic']) == set(display['Update Topic']) == TOPIC_FIELDS
    # RViz's default is transient local, and would hear nothing.
    assert qos_of(display['Topic']).durability == DurabilityPolicy.VOLATILE
    (frame,) = [p.default for p in PARAMETERS if p.name == 'ground_frame']
    assert CONFIG['Visualization Manager']['Global Options']['Fixed Frame'] == frame


@each_image
def test_display_is_an_image_with_the_fields_that_rviz_saves(display):
    assert display['Class'] == 'rviz_default_plugins/Image'
    assert set(display) == DISPLAY_FIELDS
    assert set(display['Topic']) == TOPIC_FIELDS
    assert display['Enabled'] is True
    assert display['Value'] is True


@pytest.mark.parametrize('name', SHOWN_OUTPUTS)
def test_display_of_an_output_loses_none_of_what_the_node_offers(name):
    wanted = qos_of(DISPLAYS[name]['Topic'])
    assert wanted.reliability == ReliabilityPolicy.RELIABLE
    compatibility, reason = qos_check_compatible(QoSProfile(depth=DEPTH), wanted)
    assert compatibility != QoSCompatibility.ERROR, reason


def test_display_of_the_camera_hears_every_camera_and_every_bag():
    wanted = qos_of(DISPLAYS['Camera']['Topic'])
    for reliability, durability in product(
        (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
        (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL),
    ):
        offered = QoSProfile(depth=1, reliability=reliability, durability=durability)
        compatibility, reason = qos_check_compatible(offered, wanted)
        assert compatibility != QoSCompatibility.ERROR, reason


def test_each_display_has_its_place_in_the_window():
    geometry = CONFIG['Window Geometry']
    # Qt names what it docks in UTF-16; what it does not find there floats.
    layout = bytes.fromhex(geometry['QMainWindow State'])
    for name in (*IMAGES, 'Displays'):
        assert name.encode('utf-16-be') in layout
        assert geometry[name] == {'collapsed': False}


def test_panels_and_tools_are_those_of_rviz():
    assert [panel['Class'] for panel in CONFIG['Panels']] == ['rviz_common/Displays']
    tools = CONFIG['Visualization Manager']['Tools']
    assert [tool['Class'] for tool in tools] == ['rviz_default_plugins/MoveCamera']
