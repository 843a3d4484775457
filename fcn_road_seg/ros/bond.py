"""The bond by which Nav2's lifecycle manager notices that a node has died."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

# As in Nav2's own nodes: a topic relative to the node's namespace, and ten heartbeats a second.
# The manager waits for the first heartbeat for half of its bond_timeout, 2 s by default.
TOPIC = 'bond'
HEARTBEAT_PERIOD_S = 0.1


def form_bond(node: Node) -> Any:
    """Return a started bond with the manager of `node`; None if bondpy is not installed."""
    try:
        from bondpy.bondpy import Bond
    except ImportError:
        return None
    bond = Bond(TOPIC, node.get_name(), node)
    bond.heartbeat_period = HEARTBEAT_PERIOD_S
    bond.start()
    return bond


def break_bond(node: Node, bond: Any) -> None:
    """Tell the manager that the bond ends, and destroy it."""
    bond.shutdown()
    # bondpy destroys only their handles, and the node would keep both objects.
    node.destroy_subscription(bond.sub)
    node.destroy_publisher(bond.pub)
