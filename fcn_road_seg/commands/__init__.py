"""The command lines: each parses its arguments, calls one wing, prints and returns a status."""
