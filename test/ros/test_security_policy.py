"""The SROS 2 policy allows what a live node uses, and nothing else."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from test.helpers.peer import Peer

POLICY = Path(__file__).parents[2] / 'config/security_policy.xml'
# Used with some parameters only, or by a package that is not installed here.
OPTIONAL = {
    'subscribe': {
        '/image/compressed',
        '/clock',
        '/tf',
        '/tf_static',
        '/bond',
        '/parameter_events',
    },
    'publish': {'/bond', '/fcn_road_seg/label_info'},
    # Jazzy and newer.
    'reply': {'/fcn_road_seg/get_type_description'},
}


def allowed(kind):
    """Return the names that the policy's elements of one kind (publish, ...) allow."""
    (profile,) = ElementTree.parse(POLICY).getroot().iter('profile')
    assert (profile.get('ns'), profile.get('node')) == ('/', 'fcn_road_seg')
    elements = [element for element in profile if kind in element.keys()]  # noqa: SIM118
    assert [element.get(kind) for element in elements] == ['ALLOW']
    return {child.text for element in elements for child in element}


@pytest.fixture(scope='module')
def used(start_module_node, random_checkpoint_path):
    start_module_node('-p', f'checkpoint:={random_checkpoint_path}')
    peer = Peer()
    peer.connect()
    node = peer.node
    found = {
        'subscribe': node.get_subscriber_names_and_types_by_node('fcn_road_seg', '/'),
        'publish': node.get_publisher_names_and_types_by_node('fcn_road_seg', '/'),
        'reply': node.get_service_names_and_types_by_node('fcn_road_seg', '/'),
    }
    peer.close()
    return {kind: {name for name, _ in items} for kind, items in found.items()}


@pytest.mark.parametrize('kind', OPTIONAL)
def test_policy_allows_what_the_node_uses_and_nothing_else(used, kind):
    assert used[kind]
    assert used[kind] - allowed(kind) == set()
    assert allowed(kind) - used[kind] <= OPTIONAL[kind]
