"""How a person's name is compared: the same person written otherwise is the same person.

Rules: compatibility forms, case and blanks make no difference. Which names a root delegates is the root's
business; two people of one name need two names there.

It stores nothing.

Example:
    >>> folded("Maria  MAKER") == folded("maria maker ")
    True

Source: Unicode Standard Annex #15 (NFKC); Unicode Standard §3.13 (caseless matching).
"""

import unicodedata


def folded(name: str) -> str:
    """Return a name as it is compared."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
