"""What the demo sends through the node, what it shows and what it checks."""
