"""The network and its checkpoint file, which node and trainer share."""
