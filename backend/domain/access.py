"""Who may do what: one literal table of roles and permissions, and the purposes for exact positions.

Rules:
- Deny by default: what the table does not grant is refused.
- A role works inside its own organisation only; no permission crosses to another one.
- The platform's administrator runs the server, and neither signs nor reads traces.
- A permission never orders a car: locking needs signatures made outside the server. It lets someone bring
  them; maker and checker are two roles, and no administrator has either.
- Reading exact positions needs a permission *and* a purpose, and is logged. No purpose allows selling
  positions to credit bureaus, insurers or data brokers: there is none to name (P-15).

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
    ORDER_READ = "order-read"  # orders, dispositions, the kill switch
    ORDER_REQUEST = "order-request"  # bring what a maker has signed: LOCK, RENEW, WARN, TRACE, DECOMMISSION
    ORDER_APPROVE = "order-approve"  # bring what a checker has signed
    ORDER_RELEASE = "order-release"  # bring an UNLOCK, CANCEL or QUERY; withdraw what is not sent yet
    KILL_SWITCH = "kill-switch"  # stop all restrictive orders of the organisation, and let them go on
    MCU_REGISTER = "mcu-register"  # commissioning: which microcontroller a box has
    INSTALL_READ = "install-read"  # vehicles, jobs, records, probation; an installer sees his own jobs
    INSTALL_PLAN = "install-plan"  # enter vehicles, plan jobs
    INSTALL_WORK = "install-work"  # do a job: ticket, commands, photos, record
    LABEL_REGISTER = "label-register"  # the depot: which keys are behind which label
    AUTHORITY_READ = "authority-read"  # documents that roots have signed
    AUTHORITY_WRITE = "authority-write"  # bring one; its signatures decide, not who brings it
    ROLLOUT_READ = "rollout-read"  # which release reaches whom, and what it did to vehicles
    ROLLOUT_MANAGE = "rollout-manage"  # begin, pause, resume, stop; approve what another one began
    ROLLOUT_REPORT = "rollout-report"  # say that a car did not start after an update


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
_READ: Final = frozenset({_P.SELF_READ, _P.DEVICE_READ, _P.AUTHORITY_READ})
_RELEASE: Final = frozenset({_P.ORDER_READ, _P.ORDER_RELEASE, _P.AUTHORITY_WRITE})
_ROLLOUT: Final = frozenset({_P.ROLLOUT_READ, _P.ROLLOUT_MANAGE, _P.ROLLOUT_REPORT})

# An administrator runs an organisation and signs nothing (B-06): what people sign, they bring themselves.
_SIGNERS_ONLY: Final = frozenset({_P.ORDER_REQUEST, _P.ORDER_APPROVE, _P.ORDER_RELEASE})

GRANTS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.OFFICER_MAKER: _READ | _RELEASE | {_P.ORDER_REQUEST, _P.INSTALL_READ},
        Role.OFFICER_CHECKER: _READ | _RELEASE | {_P.ORDER_APPROVE, _P.INSTALL_READ},
        Role.SAFETY_OFFICER: _READ
        | _RELEASE
        | {_P.KILL_SWITCH, _P.ACCESS_LOG_READ, _P.INSTALL_READ}
        | _ROLLOUT,
        Role.OPERATOR: _READ
        | {_P.TELEMETRY_READ, _P.POSITION_READ, _P.ORDER_READ, _P.INSTALL_READ, _P.INSTALL_PLAN}
        | {_P.ROLLOUT_READ, _P.ROLLOUT_REPORT},
        Role.INSTALLER: _READ
        | {_P.TELEMETRY_READ, _P.ENROLMENT_MANAGE, _P.MCU_REGISTER}
        | {_P.INSTALL_READ, _P.INSTALL_WORK, _P.LABEL_REGISTER, _P.ROLLOUT_REPORT},
        Role.AUDITOR: _READ
        | {_P.TELEMETRY_READ, _P.POSITION_READ, _P.EVIDENCE_EXPORT, _P.ACCESS_LOG_READ, _P.ORDER_READ}
        | {_P.INSTALL_READ, _P.ROLLOUT_READ},
        Role.OMBUDS: _READ | _RELEASE | {_P.EVIDENCE_EXPORT, _P.ACCESS_LOG_READ, _P.INSTALL_READ},
        Role.ORG_ADMIN: frozenset(_P) - _SIGNERS_ONLY,
        Role.PLATFORM_ADMIN: _READ
        | {_P.DEVICE_REVOKE, _P.ENROLMENT_MANAGE, _P.KEY_MANAGE, _P.ACCESS_LOG_READ, _P.AUTHORITY_WRITE},
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
