"""`fcn-road-seg NAME ...`: the package's commands, where there is no `ros2 run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    'segment': ('fcn_road_seg.commands.segment', 'the ROS 2 node'),
    'demo': ('fcn_road_seg.commands.demo', 'camera, node, mask and overlay on this machine'),
    'train': ('fcn_road_seg.commands.train', 'train a network and write its checkpoint'),
    'evaluate': ('fcn_road_seg.commands.evaluate', 'measure a checkpoint on labelled frames'),
    'kitti_to_bag': ('fcn_road_seg.commands.kitti_to_bag', 'a KITTI drive as a rosbag2'),
    'segment_bag': ('fcn_road_seg.commands.segment_bag', 'every frame of a rosbag2, offline'),
    'bench': ('fcn_road_seg.commands.bench', 'time network and node on this machine'),
    'calibrate': ('fcn_road_seg.commands.calibrate', 'give an older checkpoint what int8 needs'),
    'export': ('fcn_road_seg.commands.export', 'write a checkpoint as an ONNX model'),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names with the others; return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in COMMANDS:
        print('usage: fcn-road-seg COMMAND ...  (COMMAND --help says more)')
        for name, (_, text) in COMMANDS.items():
            print(f'  {name:14}{text}')
        return 0 if argv in (['-h'], ['--help']) else 2
    module, _ = COMMANDS[argv[0]]
    # ROS and argparse both read the program's own name and arguments.
    sys.argv = [f'fcn-road-seg {argv[0]}', *argv[1:]]
    return import_module(module).main() or 0


if __name__ == '__main__':
    raise SystemExit(main())
