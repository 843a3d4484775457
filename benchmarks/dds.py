"""Measure how many large images arrive in another process through ROS 2, and how soon.

PYTHONPATH=. python benchmarks/dds.py [--reliability best_effort] [--size 375x1242] ...

Set the options of the middleware in the environment (FASTDDS_BUILTIN_TRANSPORTS, ...).
"""

import argparse
import multiprocessing
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.commands.arguments import size_hw
from fcn_road_seg.messages.image import image_msg

TOPIC = 'dds_benchmark'
QUIET_S = 2.0


def make_qos(args: argparse.Namespace) -> QoSProfile:
    return QoSProfile(depth=1, reliability=ReliabilityPolicy[args.reliability.upper()])


def send_frames(args: argparse.Namespace) -> None:
    """Publish the frames, each with a stamp of the steady clock, which all processes share."""
    rclpy.init()
    node = rclpy.create_node('sender')
    publisher = node.create_publisher(Image, TOPIC, make_qos(args))
    pixels = np.random.default_rng(0).integers(0, 256, (*args.size, 3), np.uint8)
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    time.sleep(1.0)
    due_s = time.monotonic()
    for _ in range(args.frames):
        msg = image_msg(pixels, 'bgr8', Header())
        now_ns = time.monotonic_ns()
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(now_ns, 1_000_000_000)
        publisher.publish(msg)
        due_s += 1 / args.rate
        time.sleep(max(0.0, due_s - time.monotonic()))
    time.sleep(QUIET_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--reliability',
        choices=('best_effort', 'reliable'),
        default='reliable',
        help='QoS reliability of both sides (default: reliable).',
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=200,
        metavar='N',
        help='Number of images to send (default: 200).',
    )
    parser.add_argument(
        '--rate', type=float, default=30.0, metavar='HZ', help='Images per second (default: 30).'
    )
    parser.add_argument(
        '--size',
        type=size_hw,
        default=(375, 1242),
        metavar='HxW',
        help='Image size, height first (default: 375x1242).',
    )
    args = parser.parse_args()
    sender = multiprocessing.get_context('spawn').Process(target=send_frames, args=(args,))
    sender.start()
    rclpy.init()
    node = rclpy.create_node('receiver')
    latencies_ms: list[float] = []

    def receive(msg: Image) -> None:
        sent_ns = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        latencies_ms.append((time.monotonic_ns() - sent_ns) / 1e6)

    node.create_subscription(Image, TOPIC, receive, make_qos(args))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while sender.is_alive():
        executor.spin_once(timeout_sec=0.1)
    p50, p95 = np.percentile(latencies_ms, (50, 95)) if latencies_ms else (np.nan, np.nan)
    print(
        f'{args.reliability}: {len(latencies_ms)} of {args.frames} received, '
        f'p50 {p50:.1f} ms, p95 {p95:.1f} ms'
    )


if __name__ == '__main__':
    main()
