"""Encoding, hash and signature of the collection policy.

Rules: see `policy`. The hash is SHA-256 of the encoded document without its signature, so that signing the
same document again, with the same or a succeeding key, is no change.

This module decides nothing.

Example:
    >>> is_in_force(None, b"any document")
    False
"""

import hashlib

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError
from protocol.fields import Fields, bad_field, integer, known, number, record, text, versioned
from protocol.fixes import Precision
from protocol.header import ENUM_MAX
from protocol.ids import THUMBPRINT_BYTES, DeviceId
from protocol.limits import (
    BATCH_AGE_US_MAX,
    COUNT_MAX,
    POLICY_BYTES_MAX,
    POLICY_RULES_MAX,
    SIGN1_BYTES_MAX,
    TIME_US_MAX,
)
from protocol.policy import (
    VERSION,
    Area,
    Comparison,
    LoanStage,
    Policy,
    Quotas,
    SampleRule,
    StatePlan,
    Trigger,
    VehicleState,
)

_BATCH_AGE_US_MIN = 1_000_000
_CELL_M_MIN, _CELL_M_MAX = 100, 1_000_000
_LAT_E7_MAX, _LON_E7_MAX = 900_000_000, 1_800_000_000


def policy_hash(policy: Policy) -> bytes:
    """Return the 32-byte SHA-256 of a document, as batch headers name it."""
    return hashlib.sha256(encode_policy(policy)).digest()


def is_in_force(current_hash: bytes | None, document: bytes) -> bool:
    """Whether a received document is the one in force already, so that nothing is to be done."""
    return current_hash == hashlib.sha256(document).digest()


def encode_policy(policy: Policy) -> bytes:
    """Return the deterministic encoding of a document.

    Raises:
        ValueError: a field is out of its range or the document too large, so no reader would accept it.
    """
    data = codec.encode(
        {
            1: policy.version,
            2: policy.revision,
            3: None if policy.device is None else bytes.fromhex(policy.device),
            4: policy.issued_us,
            5: policy.loan_stage,
            6: {state: _plan_map(plan) for state, plan in policy.states.items()},
            7: [_trigger_map(trigger) for trigger in policy.triggers],
            8: [policy.quotas.spool_bytes, policy.quotas.bulk_bytes, policy.quotas.windows_per_day],
            9: policy.precision,
            10: [[area.name, area.lat_e7, area.lon_e7, area.radius_m] for area in policy.areas],
            11: policy.cell_m,
            12: policy.month_bytes,
        }
    )
    try:
        assert decode_policy(data) == policy, "a policy reads back as it was written"
    except ProtocolError as error:
        raise ValueError(f"no reader would accept this policy: {error}") from error
    return data


def decode_policy(data: bytes) -> Policy:
    """Read the payload of a policy.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING by the codec; UNSUPPORTED_VERSION; BAD_FIELD.
    """
    fields = versioned(data, "policy", version=VERSION, max_bytes=POLICY_BYTES_MAX)
    device = fields.octets_or_none(3, size=THUMBPRINT_BYTES)
    spool_bytes, bulk_bytes, windows_per_day = (
        integer(item, fields.label(8), least=0, most=COUNT_MAX) for item in fields.record(8, size=3)
    )
    return Policy(
        revision=fields.integer(2, least=0, most=COUNT_MAX),
        device=None if device is None else DeviceId(device.hex()),
        issued_us=fields.integer(4, least=0, most=TIME_US_MAX),
        loan_stage=known(LoanStage, fields.integer(5, least=1, most=ENUM_MAX)),
        states={
            known(VehicleState, integer(state, fields.label(6), least=1, most=ENUM_MAX)): _plan(plan)
            for state, plan in fields.mapping(6, most=ENUM_MAX).items()
        },
        triggers=tuple(_trigger(item) for item in fields.array(7, most=POLICY_RULES_MAX)),
        quotas=Quotas(spool_bytes=spool_bytes, bulk_bytes=bulk_bytes, windows_per_day=windows_per_day),
        precision={
            known(LoanStage, integer(stage, fields.label(9), least=1, most=ENUM_MAX)): known(
                Precision, integer(allowed, fields.label(9), least=0, most=ENUM_MAX)
            )
            for stage, allowed in fields.mapping(9, most=ENUM_MAX).items()
        },
        areas=tuple(_area(item) for item in fields.array(10, most=POLICY_RULES_MAX)),
        cell_m=fields.integer(11, least=_CELL_M_MIN, most=_CELL_M_MAX),
        month_bytes=fields.integer(12, least=0, most=COUNT_MAX),
    )


def sign_policy(policy: Policy, signer: Signer) -> bytes:
    """Return the document as it travels on `down/policy`, signed by the backend's policy key."""
    return sign1(Kind.POLICY, encode_policy(policy), signer)


def open_policy(data: bytes, keys: KeyLookup) -> tuple[Policy, bytes]:
    """Read, verify and decode a policy.

    Args:
        data: the whole message.
        keys: gives the backend's policy keys, pinned at enrolment.

    Returns:
        The document, and its hash as batch headers name it.

    Raises:
        ProtocolError: as `open_sign1` and `decode_policy`. That it is for this device and not older than the
            one in force is the caller's to check.
    """
    payload = open_sign1(data, Kind.POLICY, keys, max_bytes=SIGN1_BYTES_MAX).payload
    return decode_policy(payload), hashlib.sha256(payload).digest()


def _plan_map(plan: StatePlan) -> dict[int, object]:
    return {
        1: plan.batch_age_us,
        2: plan.fix_period_us,
        3: [_rule_map(rule) for rule in plan.rules],
        4: plan.raw_frames,
    }


def _plan(value: object) -> StatePlan:
    fields = Fields(value, "policy plan")
    return StatePlan(
        batch_age_us=fields.integer(1, least=_BATCH_AGE_US_MIN, most=BATCH_AGE_US_MAX),
        fix_period_us=fields.integer_or_none(2, least=1, most=TIME_US_MAX),
        rules=tuple(_rule(item) for item in fields.array(3, most=POLICY_RULES_MAX)),
        raw_frames=_texts(fields, 4),
    )


def _rule_map(rule: SampleRule) -> dict[int, object]:
    return {
        1: rule.select,
        2: rule.keep_all,
        3: rule.period_us,
        4: rule.max_interval_us,
        5: rule.on_change,
        6: rule.dead_bands,
    }


def _rule(value: object) -> SampleRule:
    fields = Fields(value, "policy rule")
    keep_all = fields.get(2)
    if not isinstance(keep_all, bool):
        bad_field(fields.label(2), "a boolean")
    return SampleRule(
        select=fields.text(1),
        keep_all=keep_all,
        period_us=fields.integer_or_none(3, least=1, most=TIME_US_MAX),
        max_interval_us=fields.integer_or_none(4, least=1, most=TIME_US_MAX),
        on_change=_texts(fields, 5),
        dead_bands={
            text(signal, fields.label(6)): number(band, fields.label(6))
            for signal, band in fields.mapping(6, most=POLICY_RULES_MAX).items()
        },
    )


def _trigger_map(trigger: Trigger) -> dict[int, object]:
    return {
        1: trigger.name,
        2: trigger.signal,
        3: trigger.comparison,
        4: trigger.threshold,
        5: trigger.hold_us,
        6: trigger.before_us,
        7: trigger.after_us,
        8: trigger.min_interval_us,
        9: trigger.select,
    }


def _trigger(value: object) -> Trigger:
    fields = Fields(value, "policy trigger")
    hold_us, before_us, after_us, min_interval_us = (
        fields.integer(key, least=0, most=TIME_US_MAX) for key in range(5, 9)
    )
    return Trigger(
        name=fields.text(1),
        signal=fields.text(2),
        comparison=known(Comparison, fields.integer(3, least=1, most=ENUM_MAX)),
        threshold=number(fields.get(4), fields.label(4)),
        hold_us=hold_us,
        before_us=before_us,
        after_us=after_us,
        min_interval_us=min_interval_us,
        select=_texts(fields, 9),
    )


def _area(value: object) -> Area:
    name, lat_e7, lon_e7, radius_m = record(value, "policy area", size=4)
    return Area(
        name=text(name, "policy area name"),
        lat_e7=integer(lat_e7, "policy area latitude", least=-_LAT_E7_MAX, most=_LAT_E7_MAX),
        lon_e7=integer(lon_e7, "policy area longitude", least=-_LON_E7_MAX, most=_LON_E7_MAX),
        radius_m=integer(radius_m, "policy area radius", least=1, most=COUNT_MAX),
    )


def _texts(fields: Fields, key: int) -> tuple[str, ...]:
    return tuple(text(item, fields.label(key)) for item in fields.array(key, most=POLICY_RULES_MAX))
