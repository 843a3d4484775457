"""The command lines: parse, call one wing, print, exit status."""
