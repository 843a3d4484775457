"""The costmap layers that docs/nav2.md gives to users of Nav2: of topics that the node has."""

import re
import textwrap
from pathlib import Path

import yaml
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2

from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS
from fcn_road_seg.ros.node import NODE_NAME
from fcn_road_seg.ros.publishers import LABEL_INFO, OUTPUTS

DOCS = Path(__file__).parents[2] / 'docs' / 'nav2.md'
STATIC, SEMANTIC = (
    yaml.safe_load(textwrap.dedent(block))
    for block in re.findall(r'```yaml\n(.*?)```', DOCS.read_text(), re.S)
)


def test_static_layer_hears_the_grid_of_a_rolling_costmap():
    costmap = STATIC['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['rolling_window'] is True
    assert set(costmap['plugins']) == {'road_layer', 'inflation_layer'}
    layer = costmap['road_layer']
    assert layer['plugin'] == 'nav2_costmap_2d::StaticLayer'
    name = layer['map_topic'].removeprefix(f'/{NODE_NAME}/')
    assert GROUND_OUTPUTS[name].type is OccupancyGrid
    # The node's grid is volatile; the layer's default would hear nothing.
    assert layer['map_subscribe_transient_local'] is False
    # The middle of free and occupied; above 99, all that is not certain would be free.
    assert costmap['lethal_cost_threshold'] == 50


def test_semantic_layer_hears_the_class_mask_and_what_belongs_to_it():
    layer = SEMANTIC['road_layer']
    (source,) = [layer[name] for name in layer['observation_sources'].split()]
    topics = {
        key: topic.removeprefix(f'/{NODE_NAME}/')
        for key, topic in source.items()
        if key.endswith('_topic')
    }
    assert topics == {
        'segmentation_topic': 'class_mask',
        'confidence_topic': 'confidence',
        'labels_topic': LABEL_INFO,
        'pointcloud_topic': 'points',
    }
    assert {'class_mask', 'confidence'} <= OUTPUTS.keys()
    assert GROUND_OUTPUTS['points'].type is PointCloud2
    classes = {name for kind in source['class_types'] for name in source[kind]['classes']}
    assert classes == {'background', 'road'}
