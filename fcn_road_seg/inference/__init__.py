"""From a uint8 frame to its mask, confidence and overlay."""
