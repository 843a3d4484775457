"""The node as a process, between a camera and a recorder: for the demo, the bench and tests."""
