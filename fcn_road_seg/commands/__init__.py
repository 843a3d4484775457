"""The command lines: each parses arguments, calls another subpackage, prints, returns a status."""
