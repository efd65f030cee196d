"""Who may do what: one literal table of roles and permissions, and the purposes for exact positions.

Rules:
- Deny by default: what the table does not grant is refused.
- A role works inside its own organisation only; no permission crosses to another one.
- The platform's administrator runs the server, and neither signs nor reads traces.
- A permission never orders a car: locking needs signatures made outside the server.
- Reading exact positions needs a permission *and* a purpose, and is logged. No purpose allows selling
  positions to credit bureaus, insurers or data brokers: there is none to name.

Example:
    >>> is_allowed(Role.INSTALLER, Permission.POSITION_READ)
    False
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What a key's holder is in its organisation."""

    OFFICER_MAKER = "officer-maker"
    OFFICER_CHECKER = "officer-checker"
    SAFETY_OFFICER = "safety-officer"
    OPERATOR = "operator"
    INSTALLER = "installer"
    AUDITOR = "auditor"
    OMBUDS = "ombuds"
    ORG_ADMIN = "org-admin"
    PLATFORM_ADMIN = "platform-admin"


class Permission(StrEnum):
    """One kind of act on the API."""

    SELF_READ = "self-read"  # who am I
    DEVICE_READ = "device-read"  # boxes, their batches, chains and integrity events, without content
    TELEMETRY_READ = "telemetry-read"  # signals and their roll-ups
    POSITION_READ = "position-read"  # exact positions; a purpose is needed as well
    EVIDENCE_EXPORT = "evidence-export"  # whole batches, positions included; a purpose is needed as well
    DEVICE_REVOKE = "device-revoke"
    ENROLMENT_MANAGE = "enrolment-manage"  # one-time enrolment tokens
    KEY_MANAGE = "key-manage"  # API keys of the own organisation
    ACCESS_LOG_READ = "access-log-read"


class Purpose(StrEnum):
    """Why someone reads exact positions; each read is logged with it."""

    THEFT_REPORT = "theft-report"
    DELINQUENCY = "delinquency"
    RECOVERY = "recovery"
    DISPUTE = "dispute"
    BORROWER_REQUEST = "borrower-request"
    LEGAL_ORDER = "legal-order"
    COMMISSIONING = "commissioning"
    SUPPORT = "support"


_P = Permission
_READ: Final = frozenset({_P.SELF_READ, _P.DEVICE_READ})

GRANTS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.OFFICER_MAKER: _READ,
        Role.OFFICER_CHECKER: _READ,
        Role.SAFETY_OFFICER: _READ | {_P.ACCESS_LOG_READ},
        Role.OPERATOR: _READ | {_P.TELEMETRY_READ, _P.POSITION_READ},
        Role.INSTALLER: _READ | {_P.TELEMETRY_READ, _P.ENROLMENT_MANAGE},
        Role.AUDITOR: _READ | {_P.TELEMETRY_READ, _P.POSITION_READ, _P.EVIDENCE_EXPORT, _P.ACCESS_LOG_READ},
        Role.OMBUDS: _READ | {_P.EVIDENCE_EXPORT, _P.ACCESS_LOG_READ},
        Role.ORG_ADMIN: frozenset(_P),
        Role.PLATFORM_ADMIN: _READ
        | {_P.DEVICE_REVOKE, _P.ENROLMENT_MANAGE, _P.KEY_MANAGE, _P.ACCESS_LOG_READ},
    }
)

# Roles that a key may be given over the API. The platform's administrator is made on the server's own
# command line.
GRANTABLE: Final = frozenset(Role) - {Role.PLATFORM_ADMIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling: the organisation all queries are made for, the role, and the key for the log."""

    org_id: str
    key_id: str
    role: Role


def is_allowed(role: Role, permission: Permission) -> bool:
    """Whether the table grants this permission to this role."""
    return permission in GRANTS.get(role, frozenset())
