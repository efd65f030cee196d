"""The engine's configuration: one frozen object, read once, all problems reported together.

Rules:
- Every duration is in microseconds of the monotonic clock, every size in bytes.
- The hard limits of the wire stand in `protocol.limits`; a configuration may be stricter, never looser.
- `EngineConfig.checked()` either returns the object or raises with every problem it found.

It does not read files or the environment (`device.agent` does) and holds no secret: keys reach the engine
as a signer.

Example:
    >>> BatchLimits(age_us=1).problems()
    ['batch age 1 µs is outside 100000…60000000 µs']
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from device.errors import ConfigError
from protocol import limits
from protocol.fixes import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.state import StateTest
    from protocol.ids import BootId, DeviceId

DEVICE_ID_LENGTH = 64  # hex digits of a SHA-256 thumbprint
BOOT_ID_BYTES = 16
HASH_BYTES = 32  # SHA-256
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


def _outside(name: str, value: int, low: int, high: int, unit: str) -> list[str]:
    return [] if low <= value <= high else [f"{name} {value} {unit} is outside {low}…{high} {unit}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When an open batch is closed.

    Attributes:
        age_us: Longest time from the first content to the seal (§5: ≤ 60 s).
        raw_bytes: Upper bound of the content before compression. The bound of the wire is 256 KiB; below it
            no content, however incompressible, can make a batch that may not travel.
        rows: Most signal rows, so that sealing never takes longer than a fraction of a second.
        heartbeat_us: With nothing to say, an empty batch is still sealed this often, so that silence means
            something.
    """

    age_us: int = limits.BATCH_AGE_US_MAX
    raw_bytes: int = 192 * 1024
    rows: int = 50_000
    heartbeat_us: int = 30 * MINUTE_US

    def problems(self) -> list[str]:
        """Return what does not hold, one sentence each."""
        return [
            *_outside("batch age", self.age_us, 100_000, limits.BATCH_AGE_US_MAX, "µs"),
            *_outside("batch content", self.raw_bytes, 1024, 208 * 1024, "bytes"),
            *_outside("batch rows", self.rows, 1, 1_000_000, "rows"),
            *_outside("heartbeat", self.heartbeat_us, SECOND_US, 24 * 60 * MINUTE_US, "µs"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """How much the box keeps.

    Attributes:
        quota_bytes: Most bytes of batches on disk, receipted ones included; beyond it something is evicted
            and declared.
        memory_batches: Sealed batches held in memory while the disk refuses; then acquisition drops, counted.
        memory_bytes: The same in bytes.
        retry_us: Pause before the next try after the disk refused.
    """

    quota_bytes: int = 256 * 1024 * 1024
    memory_batches: int = 32
    memory_bytes: int = 4 * 1024 * 1024
    retry_us: int = 5 * SECOND_US

    def problems(self) -> list[str]:
        """Return what does not hold, one sentence each."""
        return [
            *_outside("spool quota", self.quota_bytes, 64 * 1024, 1 << 40, "bytes"),
            *_outside("batches in memory", self.memory_batches, 1, 1_000, "batches"),
            *_outside("bytes in memory", self.memory_bytes, limits.PAYLOAD_BYTES_MAX, 1 << 30, "bytes"),
            *_outside("spool retry", self.retry_us, 10_000, 10 * MINUTE_US, "µs"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkLimits:
    """How batches are sent and sent again.

    Attributes:
        window: Most batches on the way at once.
        receipt_wait_us: How long a published batch may wait for its receipt before it counts as unanswered.
        backoff_first_us: First pause before sending the same batch again; doubled each time, jittered by ±
            25 %.
        backoff_max_us: Longest pause.
        disputed_tries: How often a batch of a forked chain is offered before it is sealed again in the new
            one.
        time_wait_us: How long sending waits for signed time after a connect without a clock.
        standing_wait_us: How long after a connect a chain of an earlier boot may wait for the backend's word
            where it stands; then it is sent as it is.
        standing_every_us: How often the backend is asked in a long connection: a restored one cannot know
            what it lost of chains that have ended.
        chain_rest_us: Least time between two chains begun because of a conflict, so that a faulty peer
            cannot make us spin.
    """

    window: int = limits.PUBLISH_WINDOW
    receipt_wait_us: int = 10 * SECOND_US
    backoff_first_us: int = 5 * SECOND_US
    backoff_max_us: int = 10 * MINUTE_US
    disputed_tries: int = 3
    time_wait_us: int = 3 * SECOND_US
    standing_wait_us: int = 30 * SECOND_US
    standing_every_us: int = 60 * MINUTE_US
    chain_rest_us: int = MINUTE_US

    def problems(self) -> list[str]:
        """Return what does not hold, one sentence each."""
        return [
            *_outside("publish window", self.window, 1, limits.PUBLISH_WINDOW, "batches"),
            *_outside("wait for a receipt", self.receipt_wait_us, 10_000, 10 * MINUTE_US, "µs"),
            *_outside("first back-off", self.backoff_first_us, 10_000, self.backoff_max_us, "µs"),
            *_outside("longest back-off", self.backoff_max_us, 10_000, 60 * MINUTE_US, "µs"),
            *_outside("tries of a disputed batch", self.disputed_tries, 1, 100, "tries"),
            *_outside("wait for signed time", self.time_wait_us, 0, MINUTE_US, "µs"),
            *_outside("wait for a chain's standing", self.standing_wait_us, 0, 10 * MINUTE_US, "µs"),
            *_outside("pause of questions", self.standing_every_us, SECOND_US, 24 * 60 * MINUTE_US, "µs"),
            *_outside("rest between chains", self.chain_rest_us, 0, 24 * 60 * MINUTE_US, "µs"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersConfig:
    """The agent's side of orders; a box without a microcontroller has none.

    Attributes:
        states: Which signals say `ignition_on`, `engine_running`, `hazard_lights`, `crashed`, as far as the
            vehicle profile names them.
    """

    states: Mapping[str, StateTest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Everything the engine is told once.

    Attributes:
        device: Permanent name of the box.
        boot: 16 random bytes, drawn by the shell for this life of the agent.
        host_boot: Identity of the machine's own boot, None where there is none.
        backend_keys: COSE_Key bytes of the pinned receipt keys; receipts and signed time are believed from
            these only.
        batch: When a batch closes.
        spool: How much is kept.
        uplink: How it is sent.
        keep_all: Keep every row and skip sampling (replay of a recorded drive).
        precision: How exact positions leave the box. Default none: more needs a signed policy or a person
            at the desk.
        tick_us: How often the engine persists how far it got; bounds the gap after a power cut.
        asks_time: Ask the backend for signed time while no better source vouches for the clock. A replay does
            not: the present is not the time of its drive.
        utc_floor_us: No clock that shows less is believed.
        profile_hash: SHA-256 of the vehicle profile, None without one.
        policy_hash: SHA-256 of the signed policy in force, None without one.
        jitter_seed: Any bytes that differ from box to box, so that boxes do not resend in step.
        orders: The agent's side of orders, None without a microcontroller.
    """

    device: DeviceId
    boot: BootId
    host_boot: str | None = None
    backend_keys: tuple[bytes, ...] = ()
    batch: BatchLimits = field(default_factory=BatchLimits)
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    uplink: UplinkLimits = field(default_factory=UplinkLimits)
    keep_all: bool = False
    precision: Precision = Precision.NONE
    tick_us: int = 5 * SECOND_US
    asks_time: bool = True
    utc_floor_us: int = limits.CLOCK_EARLIEST_US
    profile_hash: bytes | None = None
    policy_hash: bytes | None = None
    jitter_seed: bytes = b""
    orders: OrdersConfig | None = None

    def problems(self) -> list[str]:
        """Return what does not hold, one sentence each."""
        hashes = (("profile hash", self.profile_hash), ("policy hash", self.policy_hash))
        return [
            *([] if len(self.device) == DEVICE_ID_LENGTH else ["device id is not 64 hex digits"]),
            *([] if len(self.boot) == BOOT_ID_BYTES else ["boot id is not 16 bytes"]),
            *(
                f"{name} is not 32 bytes"
                for name, value in hashes
                if value is not None and len(value) != HASH_BYTES
            ),
            *_outside("tick", self.tick_us, 100_000, 10 * MINUTE_US, "µs"),
            *self.batch.problems(),
            *self.spool.problems(),
            *self.uplink.problems(),
        ]

    def checked(self) -> Self:
        """Return this object if it holds.

        Raises:
            ConfigError: With every problem found.
        """
        problems = self.problems()
        if problems:
            raise ConfigError(tuple(problems))
        return self
