"""ROS messages to arrays and back, with all checks of untrusted messages."""
