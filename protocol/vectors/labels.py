"""Names of integer keys by message, for the comments beside the hex in SPEC.md.

Example:
    >>> LABELS["time"]
    {1: 'version', 2: 'nonce', 3: 'utc'}
"""

from collections.abc import Mapping


def _numbered(*names: str) -> dict[int, str]:
    return dict(enumerate(names, 1))


LABELS: Mapping[str, Mapping[int, str]] = {
    "key": {1: "kty", -1: "crv", -2: "x", -3: "y"},
    "header": _numbered(
        *("version", "device", "chain", "seq", "prev", "boot", "monotonic interval", "UTC interval", "clock"),
        *("counts", "gaps", "losses", "drops", "policy", "profile", "order head", "disposition head"),
        *("checkpoint", "sections", "origin", "ended losses"),
    ),
    "receipt": _numbered(
        *("version", "device", "stream", "chain", "upto", "hash", "have", "refused", "want", "issued"),
        "answers",
    ),
    "policy": _numbered(
        *(
            "version",
            "revision",
            "device",
            "issued",
            "loan stage",
            "states",
            "triggers",
            "quotas",
            "precision",
        ),
        *("areas", "cell edge", "month bytes"),
    ),
    "standing-request": _numbered("version", "device", "nonce", "chains"),
    "time-request": _numbered("version", "device", "nonce"),
    "time": _numbered("version", "nonce", "utc"),
    "enrol": _numbered("version", "device", "CSR hash", "token hash", "agent key"),
    "renew": _numbered("version", "device", "CSR hash", "nonce"),
    "key-succession": _numbered("version", "role", "successor", "valid from"),
    "facts": _numbered("dictionary", "events", "health"),
}
"""By the word after an example's name in SPEC.md."""
