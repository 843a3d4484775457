"""From uint8 frame to mask, confidence and overlay."""
