"""The corridor as messages: nav_msgs/Path of its centre, and a MarkerArray of its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fcn_road_seg.ground.corridor import Corridor

if TYPE_CHECKING:
    from nav_msgs.msg import Path
    from std_msgs.msg import Header
    from visualization_msgs.msg import MarkerArray

_LINE_WIDTH_M = 0.1
# If the node has ended, its edges vanish from a viewer after this time.
_LIFETIME_S = 1


def path_msg(corridor: Corridor, header: Header) -> Path:
    """Return the centre line as a Path, empty without a corridor; its poses face along it."""
    from geometry_msgs.msg import Pose, PoseStamped
    from nav_msgs.msg import Path

    x_m, y_m = corridor.x_m, corridor.centre_m
    yaw_rad = np.zeros_like(x_m)
    if len(x_m) > 1:
        yaw_rad = np.arctan2(np.gradient(y_m), np.gradient(x_m))
    path = Path(header=header)
    for x, y, half in zip(x_m.tolist(), y_m.tolist(), (yaw_rad / 2).tolist(), strict=True):
        pose = Pose()
        pose.position.x, pose.position.y = x, y
        pose.orientation.z, pose.orientation.w = float(np.sin(half)), float(np.cos(half))
        path.poses.append(PoseStamped(header=header, pose=pose))
    return path


def edges_msg(corridor: Corridor, header: Header) -> MarkerArray:
    """Return the edges as two line strips, `left` and `right`, with a point at every metre.

    Without a corridor the lines are deleted.
    """
    from builtin_interfaces.msg import Duration
    from geometry_msgs.msg import Point
    from std_msgs.msg import ColorRGBA
    from visualization_msgs.msg import Marker, MarkerArray

    array = MarkerArray()
    for name, edge_m in (('left', corridor.left_m), ('right', corridor.right_m)):
        marker = Marker(header=header, ns=name, type=Marker.LINE_STRIP, action=Marker.DELETE)
        # RViz does not draw a line of a single point.
        if len(edge_m) > 1:
            marker.action = Marker.ADD
            points = zip(corridor.x_m.tolist(), edge_m.tolist(), strict=True)
            marker.points = [Point(x=x, y=y) for x, y in points]
            marker.scale.x = _LINE_WIDTH_M
            marker.color = ColorRGBA(r=1.0, g=0.75, b=0.0, a=1.0)
            marker.lifetime = Duration(sec=_LIFETIME_S)
        array.markers.append(marker)
    return array
