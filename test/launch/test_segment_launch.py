"""The launch file, started for real, with a camera that shows a scene of exact labels."""

import os
import unittest
from importlib.util import find_spec
from pathlib import Path

import pytest

# No importorskip: launch_testing's plugin would then skip this folder's other modules, too.
if any(find_spec(name) is None for name in ('launch', 'launch_ros', 'launch_testing')):

    @pytest.mark.skip(reason='launch, launch_ros and launch_testing come with ROS 2, not PyPI')
    def test_launch_file_starts_a_node_that_segments():
        """Stands for what a ROS 2 installation runs here."""

else:
    import launch
    import launch.actions
    import launch.launch_description_sources
    import launch_testing
    import launch_testing.actions
    import launch_testing.asserts
    import launch_testing.markers
    import numpy as np
    from launch_ros.actions import PushRosNamespace
    from rcl_interfaces.srv import GetParameters

    from fcn_road_seg.synthetic import SyntheticDrive
    from test.helpers.launched import REPOSITORY, own_prefix
    from test.helpers.peer import Peer, iou_of, pixels_of

    @pytest.mark.launch_test
    @launch_testing.markers.keep_alive
    def generate_test_description():
        os.environ['AMENT_PREFIX_PATH'] = os.pathsep.join(
            [str(own_prefix()), *filter(None, [os.environ.get('AMENT_PREFIX_PATH')])]
        )
        included = launch.actions.IncludeLaunchDescription(
            launch.launch_description_sources.PythonLaunchDescriptionSource(
                str(REPOSITORY / 'launch' / 'segment.launch.py')
            ),
            launch_arguments={
                'image': 'image',
                'namespace': 'car',
                'device': 'cpu',
                'precision': 'float32',
                'autostart': 'True',
                'log_level': 'warn',
                'use_sim_time': 'True',
                'rviz': '1',
            }.items(),
        )
        # As a vehicle's own launch file puts it into a namespace of its own.
        pushed = launch.actions.GroupAction([PushRosNamespace('fleet'), included])
        return launch.LaunchDescription([pushed, launch_testing.actions.ReadyToTest()])

    class TestSegmentLaunch(unittest.TestCase):
        """With the node running."""

        @classmethod
        def setUpClass(cls):
            cls.peer = Peer(namespace='fleet/car')
            cls.peer.connect()

        @classmethod
        def tearDownClass(cls):
            cls.peer.close()

        def test_masks_agree_with_the_exact_labels(self):
            ious = []
            for seed in range(3_000_000, 3_000_003):
                frame, label = SyntheticDrive(seed, (240, 320)).render(t_s=1.0)
                stamp = self.peer.send(frame)
                mask, overlay = self.peer.answer(stamp)
                self.assertEqual(mask.header.frame_id, f'camera_{stamp}')
                self.assertEqual(pixels_of(overlay).shape, frame.shape)
                ious.append(iou_of(pixels_of(mask), label))
            self.assertGreater(sum(ious) / 3, 0.8)

        def test_rviz_shows_camera_mask_and_overlay_of_the_namespace(self, proc_output):
            self.peer.answer(self.peer.send(np.zeros((48, 64, 3), np.uint8)))
            for name in ('Camera', 'Mask', 'Overlay'):
                proc_output.assertWaitFor(
                    f'{name} shows ', process='rviz2', stream='stderr', timeout=10
                )

        def test_launch_arguments_reach_the_node(self):
            client = self.peer.node.create_client(
                GetParameters, '/fleet/car/fcn_road_seg/get_parameters'
            )
            self.peer.spin_until(client.service_is_ready)
            names = ['device', 'checkpoint', 'precision', 'autostart', 'use_sim_time']
            future = client.call_async(GetParameters.Request(names=names))
            self.peer.spin_until(future.done)
            device, checkpoint, precision, autostart, use_sim_time = future.result().values
            self.assertEqual(device.string_value, 'cpu')
            self.assertEqual(checkpoint.string_value, '')
            self.assertEqual(precision.string_value, 'float32')
            self.assertTrue(autostart.bool_value)
            self.assertTrue(use_sim_time.bool_value)

        def test_log_level_is_given_to_the_node(self):
            self.assertTrue(any(b'--log-level\0warn\0' in line for line in of_node('cmdline')))

        def test_node_has_its_memory_in_large_pages(self):
            self.assertTrue(
                any(
                    b'GLIBC_TUNABLES=glibc.malloc.hugetlb=1' in text for text in of_node('environ')
                )
            )

    def of_node(file):
        """Return this file in /proc of each process whose command line has the namespace."""
        texts = []
        for process in Path('/proc').glob('[0-9]*'):
            try:
                if b'__ns:=/fleet/car' in (process / 'cmdline').read_bytes():
                    texts.append((process / file).read_bytes())
            except OSError:
                continue  # It has ended meanwhile.
        return texts

    @launch_testing.post_shutdown_test()
    class TestAfterShutdown(unittest.TestCase):
        """After launch has ended the node."""

        def test_node_ends_with_status_0(self, proc_info):
            launch_testing.asserts.assertExitCodes(proc_info)
