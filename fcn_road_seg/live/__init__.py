"""The node as a process, beside a camera and a recorder."""
