"""sensor_msgs to uint8 arrays and back, with all checks of untrusted messages."""
