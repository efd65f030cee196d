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
    "order": _numbered(
        *("ver", "cmd_id", "type", "lender_id", "mcu_id", "vin_bind", "contract_ref", "epoch", "ctr", "iat"),
        *("nbf", "exp", "chal", "tick_exp", "max_hold", "reason", "basis", "jur", "pre", "warn", "prev"),
        *("supersedes", "ovr", "episode", "ticket", "trace"),
    ),
    "signer": {
        1: "alg",
        4: "kid",
        -65537: "role",
        -65538: "delegation",
        -65539: "log_ref",
        -65540: "attestation",
    },
    "delegation": {
        1: "iss",
        2: "sub",
        4: "exp",
        5: "nbf",
        7: "cti",
        8: "cnf",
        -65537: "role",
        -65541: "types",
        -65542: "cohort",
        -65543: "a day",
    },
    "authority": _numbered(
        *("version", "issuer", "number", "issued", "expires", "keys", "threshold", "revoked", "online key"),
        *("pack", "zones", "metadata", "taken in"),
    ),
    "revocation": _numbered("version", "issuer", "number", "issued", "revoked"),
    "challenge": _numbered(
        *("version", "mcu_id", "epoch", "chal", "tick", "counters", "prev", "state", "mode", "pack", "zones"),
        "answers",
    ),
    "authority-question": _numbered("version", "mcu_id", "hashes"),
    "challenge-question": _numbered("version", "mcu_id", "nonce"),
    "go-request": _numbered("version", "mcu_id", "cmd_hash", "chal2", "tick"),
    "go": _numbered(
        *(
            "version",
            "mcu_id",
            "cmd_hash",
            "chal2",
            "verdict",
            "issued",
            "temperature",
            "facts",
            "delegation",
        ),
    ),
    "facts-question": _numbered("version", "contract_ref", "nonce", "purpose"),
    "loan-facts": _numbered(
        *(
            "version",
            "contract_ref",
            "nonce",
            "as of",
            "days past due",
            "due",
            "pending",
            "flags",
            "due since",
        ),
        *("contract's days", "interval", "papers", "revision", "purpose", "last payment", "minutes east"),
    ),
    "loan-record": _numbered("version", "contract_ref", "record id", "written", "kind", "body"),
    "gate-record": _numbered("version", "type", "record id", "written", "delegation", "body"),
    "ticket": _numbered("version", "mcu_id", "installer", "chal", "seconds", "issued", "delegation"),
    "work-ticket": _numbered(
        *("version", "ticket_id", "job_id", "installer", "nbf", "exp", "acts", "VIN", "label", "lender_id"),
        *("contract_ref", "jur", "start type", "profile", "VIN salt", "wiring"),
    ),
    "install-command": _numbered(
        *("version", "command_id", "ticket_id", "device", "seq", "verb", "argument", "sent", "installer key"),
    ),
    "install-report": _numbered(
        *("version", "device", "ticket_id", "seq", "stage", "steps", "asks", "led", "at", "facts", "need"),
    ),
    "commissioning": _numbered(
        *("version", "mcu_id", "epoch", "record hash", "benches", "tick", "firmware", "moved"),
    ),
    "commissioning-record": _numbered(
        *(
            "version",
            "ticket_id",
            "job_id",
            "device",
            "box key",
            "installer",
            "mcu_id",
            "epoch",
            "act",
            "facts",
        ),
        *("VIN", "lender_id", "contract_ref", "jur", "start type", "profile", "wiring", "steps", "photos"),
        *("consent", "times", "BIND", "verdict"),
    ),
    "disposition": _numbered(
        *("ver", "disp_id", "cmd_id", "cmd_hash", "mcu_id", "epoch", "disp_seq", "prev", "state", "code"),
        *("tick", "time", "sources", "relay", "sensed", "lease_end", "override", "agent_seen", "firmware"),
        "checkpoint",
    ),
}
"""By the word after an example's name in SPEC.md."""
