"""The known name that a misspelt one probably means."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# At difflib's default of 0.6, the topic image would resemble magic.
_SIMILARITY = 0.7


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean NEAREST?', or '' if no known name is similar."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=_SIMILARITY)
    return f'; did you mean {nearest[0]}?' if nearest else ''
