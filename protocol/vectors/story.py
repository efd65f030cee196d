"""The story that the vectors tell: who, when, what was recorded, under which policy.

Rules: published test keys, fixed ids and times, a few values of each kind of section; nothing random, nothing
from a clock.

This module signs nothing: see `good` for the messages.

Example:
    >>> len(fixed_bytes("chain 1")), fixed_bytes("chain 1") == CHAIN
    (16, True)
"""

import hashlib

import numpy as np

from protocol.batch import Section
from protocol.facts import Event, Facts, encode_facts
from protocol.fixes import Fix, Precision, encode_fixes
from protocol.frames import RawFrames, encode_frames
from protocol.ids import BootId, ChainId, device_id
from protocol.policy import (
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
from protocol.signals import ColumnDef, GroupDef, GroupRows, RawType, encode_signals
from protocol.vectors.keys import published_signer
from protocol.window import Window, encode_windows

DEVICE_SIGNER = published_signer("device-1")
RECEIPT_SIGNER = published_signer("receipt-1")
DEVICE = device_id(DEVICE_SIGNER.public_key)
NOON_US = 1_795_608_000_000_000  # 2026-11-25T12:00:00Z
CSR_DER = b"a certificate request in DER"  # readers hash it and never look inside
TOKEN = "one-time-token"  # noqa: S105  (a published test value)


def fixed_bytes(label: str, size: int = 16) -> bytes:
    """Return bytes that stand for random ones: the beginning of SHA-256("tbox test " ‖ label)."""
    return hashlib.sha256(f"tbox test {label}".encode()).digest()[:size]


CHAIN = ChainId(fixed_bytes("chain 1"))
BOOT = BootId(fixed_bytes("boot 1"))
DBC_HASH = fixed_bytes("dbc", 32)
NONCE = fixed_bytes("nonce")

GROUP = GroupDef(
    gid=0,
    bus="can0",
    can_id=0x123,
    message="Motion",
    branch=None,
    dbc_hash=DBC_HASH,
    columns=(
        ColumnDef(
            signal="Speed",
            path="Vehicle.Speed",
            raw_type=RawType.UINT,
            bits=16,
            scale=0.01,
            offset=0,
            unit="km/h",
        ),
        ColumnDef(
            signal="Steering", path=None, raw_type=RawType.INT, bits=12, scale=1, offset=-5, unit="deg"
        ),
    ),
)

POLICY = Policy(
    revision=3,
    device=DEVICE,
    issued_us=NOON_US,
    loan_stage=LoanStage.PERFORMING,
    states={
        VehicleState.DRIVING: StatePlan(
            batch_age_us=10_000_000,
            fix_period_us=1_000_000,
            rules=(SampleRule(select="Vehicle.Speed", period_us=500_000, dead_bands={"Vehicle.Speed": 0.5}),),
            raw_frames=("can0.Motion",),
        )
    },
    triggers=(
        Trigger(
            name="shock",
            signal="Vehicle.Acceleration.Longitudinal",
            comparison=Comparison.ABOVE,
            threshold=6.5,
            hold_us=0,
            before_us=5_000_000,
            after_us=5_000_000,
            min_interval_us=60_000_000,
            select=("can0.Motion",),
        ),
    ),
    quotas=Quotas(spool_bytes=1 << 30, bulk_bytes=1 << 29, windows_per_day=20),
    precision={LoanStage.PERFORMING: Precision.IN_OUT, LoanStage.RECOVERY: Precision.EXACT},
    areas=(Area(name="home", lat_e7=481_371_540, lon_e7=115_761_240, radius_m=500),),
    cell_m=1_000,
    month_bytes=30_000_000,
)


def section_data() -> dict[Section, bytes]:
    """Return one section of each kind, without salt."""
    return {
        Section.FACTS: encode_facts(
            Facts(
                dictionary=(GROUP,),
                events=(
                    Event(t_us=1_000_000, name="ignition_on", fields={"source": "can", "supply_mv": 12_480}),
                ),
                health={"frames_received": 4, "gnss_mode": None},
            )
        ),
        Section.SIGNALS: encode_signals(
            [
                GroupRows(
                    gid=0,
                    t_us=np.array([1_000_000, 1_500_000, 2_000_100], dtype=np.int64),
                    raw=np.array([[0, 150, 425], [5, 3, -2]], dtype=np.int64),
                )
            ]
        ),
        Section.FRAMES: encode_frames(
            [
                RawFrames(
                    bus="can0",
                    t_us=np.array([1_000_000, 1_000_400, 1_500_000], dtype=np.int64),
                    can_id=np.array([0x123, 0x80000456, 0x123], dtype=np.uint32),
                    length=np.array([4, 8, 4], dtype=np.uint8),
                    data=np.frombuffer(
                        bytes.fromhex("000000050000000001020304050607080096000300000000"),
                        np.uint8,
                    ).reshape(3, 8),
                )
            ]
        ),
        Section.FIXES: encode_fixes(
            [
                Fix(t_us=1_200_000, utc_us=NOON_US + 200_000, mode=3, lat_e7=481_371_540, lon_e7=115_761_240),
                Fix(t_us=2_200_000, mode=1, sats_in_view=4),
            ],
            Precision.EXACT,
        ),
        Section.WINDOW: encode_windows(
            [
                Window(
                    name="accel_x",
                    t0_us=1_900_000,
                    period_us=1_000,
                    scale=0.001,
                    unit="g",
                    values=np.array([12, -7, 803, 2_400], dtype=np.int32),
                )
            ]
        ),
    }
