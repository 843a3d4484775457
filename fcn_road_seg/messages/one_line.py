"""Texts of errors and of messages as one printable line."""

from __future__ import annotations


def one_line(text: str, max_characters: int | None = None) -> str:
    """Return `text` with every run of blanks, line breaks and unprintable characters as one blank.

    Of a longer text only the first `max_characters` are used. NUL, which would end a ROS string,
    and lone surrogates, which UTF-8 cannot encode, are among the unprintable characters.
    """
    cut = text[:max_characters]
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in cut).split())
