"""The launch file's neighbours: what RViz is told to show exists under these names."""

from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]


def displays():
    config = yaml.safe_load((REPOSITORY / 'config' / 'segment.rviz').read_text())
    return {d['Name']: d for d in config['Visualization Manager']['Displays']}


def test_rviz_shows_camera_mask_and_overlay_under_their_default_names():
    topics = {name: display['Topic']['Value'] for name, display in displays().items()}
    assert topics == {
        'Camera': '/image',
        'Mask': '/fcn_road_seg/mask',
        'Overlay': '/fcn_road_seg/overlay',
    }


def test_rviz_uses_image_displays_with_a_qos_that_hears_their_publishers():
    reliability = {'Camera': 'Best Effort', 'Mask': 'Reliable', 'Overlay': 'Reliable'}
    for name, display in displays().items():
        assert display['Class'] == 'rviz_default_plugins/Image'
        assert display['Topic']['Reliability Policy'] == reliability[name]
        assert display['Topic']['Durability Policy'] == 'Volatile'
        assert display['Enabled'] is True
