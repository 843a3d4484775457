"""The launch file that docs/node.md gives to users of Nav2's lifecycle manager."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from fcn_road_seg.ros.node import NODE_NAME

DOCS = Path(__file__).parents[2] / 'docs' / 'node.md'


def parameters_of(node):
    from launch import LaunchContext
    from launch_ros.utilities import evaluate_parameters

    (parameters,) = evaluate_parameters(LaunchContext(), node._Node__parameters)
    return parameters


# No importorskip: launch_testing's plugin would then skip this folder's other modules, too.
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ('launch', 'launch_ros')),
    reason='launch and launch_ros come with ROS 2, not PyPI',
)
def test_launch_file_starts_a_node_that_waits_and_a_manager_without_bonds():
    section = DOCS.read_text().partition("### With Nav2's lifecycle manager")[2]
    code = section.partition('```python\n')[2].partition('```')[0]
    namespace = {}
    exec(code, namespace)
    node, manager = namespace['generate_launch_description']().entities
    assert (node.node_package, node.node_executable) == ('fcn_road_seg', 'segment')
    assert parameters_of(node) == {'autostart': False}
    assert parameters_of(manager) == {
        'autostart': True,
        'node_names': (NODE_NAME,),
        'bond_timeout': 0.0,
    }
