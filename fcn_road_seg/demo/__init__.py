"""What the newcomer's run shows and reports."""
