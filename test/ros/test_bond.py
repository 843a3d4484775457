import sys
from types import ModuleType, SimpleNamespace

import pytest
import rclpy

from fcn_road_seg.ros.bond import break_bond, form_bond
from fcn_road_seg.ros.managed_node import ManagedNode

made = []


class Bond:
    """Has the names of bondpy's Bond, which PyPI does not have."""

    def __init__(self, topic, id, node):
        self.about = (topic, id, node.get_name())
        self.calls = []
        self.pub, self.sub = 'publisher', 'subscription'
        made.append(self)

    def start(self):
        self.calls.append(f'start at {self.heartbeat_period} s')

    def shutdown(self):
        self.calls.append('shutdown')


@pytest.fixture
def bonds(monkeypatch):
    """The bonds that are made from now on."""
    module = ModuleType('bondpy.bondpy')
    module.Bond = Bond
    monkeypatch.setitem(sys.modules, 'bondpy', ModuleType('bondpy'))
    monkeypatch.setitem(sys.modules, 'bondpy.bondpy', module)
    made.clear()
    return made


@pytest.fixture
def node():
    rclpy.init()
    node = ManagedNode('managed')
    node.destroyed = []
    with pytest.MonkeyPatch.context() as patch:
        # What the stand-in for a bond has is not of ROS.
        patch.setattr(node, 'destroy_publisher', node.destroyed.append)
        patch.setattr(node, 'destroy_subscription', node.destroyed.append)
        yield node
    # Kilted's destroys the node, and goes on until it has no publisher left.
    rclpy.try_shutdown()


def test_bond_is_that_of_nav2s_lifecycle_manager(bonds):
    node = SimpleNamespace(get_name=lambda: 'fcn_road_seg')
    bond = form_bond(node)
    assert bond.about == ('bond', 'fcn_road_seg', 'fcn_road_seg')
    assert bond.calls == ['start at 0.1 s']


def test_without_bondpy_there_is_no_bond(monkeypatch):
    monkeypatch.setitem(sys.modules, 'bondpy', None)
    assert form_bond(SimpleNamespace(get_name=lambda: 'fcn_road_seg')) is None


def test_broken_bond_leaves_nothing_behind(bonds, node):
    bond = form_bond(node)
    break_bond(node, bond)
    assert bond.calls[-1] == 'shutdown'
    assert node.destroyed == ['subscription', 'publisher']


def test_bond_lasts_from_a_managers_activation_to_its_deactivation(bonds, node):
    node.trigger_configure()
    assert not bonds
    node.trigger_activate()
    assert [bond.calls[-1] for bond in bonds] == ['start at 0.1 s']
    node.trigger_deactivate()
    assert [bond.calls[-1] for bond in bonds] == ['shutdown']
    node.trigger_activate()
    node.trigger_shutdown()
    assert [bond.calls[-1] for bond in bonds] == ['shutdown', 'shutdown']


def test_node_that_starts_by_itself_has_no_bond(bonds, node):
    assert node.start()
    assert not bonds
