"""what rclpy keeps private or names anew from Humble to Rolling"""

from __future__ import annotations

from rclpy.impl.implementation_singleton import rclpy_implementation

RCLError = rclpy_implementation.RCLError
