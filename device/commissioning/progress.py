"""How far an installation has come: what survives a restart of the agent.

Rules: finished steps, facts, photos, consent, and which tickets were used or commanded how far are kept; a
step that was under way begins again, because what was seen then nobody can vouch for. What does not read as
a progress of ours is an empty one, said as such.

This module stores nothing: the shell writes what `dump` gives.

Example:
    >>> kept = Progress(seqs={bytes(16): 7})
    >>> Progress.load(kept.dump()).seqs == kept.seqs
    True
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from protocol import strict_cbor
from protocol.install_report import StepRow, read_row, row_fields
from protocol.install_vocabulary import DONE_STATES, STEPS, Stage, Step, StepState
from protocol.limits import INSTALL_PROGRESS_BYTES_MAX, INSTALL_TICKETS_KEPT_MAX

_VERSION = 1
_DEPTH = 5


@dataclass(slots=True, kw_only=True)
class Progress:
    """One box's installations.

    Attributes:
        stage: of the job.
        ticket: its message, empty without one.
        installer_key: COSE_Key bytes of whoever began it.
        steps: each step's row.
        facts: text to text.
        photos: SHA-256 of each.
        consent: version agreed to, and when.
        began_s: POSIX seconds.
        bitrate: proved, bit/s.
        ids: identifiers heard at it.
        bind: hash of the BIND order that was handed on.
        bound: hash of the disposition that took it.
        record: payload that all sign.
        attestation: the microcontroller's word about it.
        signed: the finished record.
        seqs: last seq of each ticket commanded lately.
        used: tickets that were used to the end.
        report_seq: of the last report.
        is_damaged: what was kept did not read.
    """

    stage: Stage = Stage.IDLE
    ticket: bytes = b""
    installer_key: bytes = b""
    steps: dict[Step, StepRow] = field(default_factory=lambda: {step: fresh(step) for step in STEPS})
    facts: dict[str, str] = field(default_factory=dict)
    photos: list[bytes] = field(default_factory=list)
    consent: tuple[str, int] | None = None
    began_s: int | None = None
    bitrate: int | None = None
    ids: frozenset[int] = frozenset()
    bind: bytes | None = None
    bound: bytes | None = None
    record: bytes = b""
    attestation: bytes = b""
    signed: bytes = b""
    seqs: dict[bytes, int] = field(default_factory=dict)
    used: list[bytes] = field(default_factory=list)
    report_seq: int = 0
    is_damaged: bool = False

    def new_job(self, ticket: bytes, installer_key: bytes, began_s: int | None) -> None:
        """Forget the last job, and begin one."""
        empty = Progress()
        for name in ("steps", "facts", "photos", "consent", "bitrate", "ids", "bind", "bound"):
            setattr(self, name, getattr(empty, name))
        self.record = self.attestation = self.signed = b""
        self.stage, self.ticket, self.installer_key, self.began_s = (
            Stage.OPEN,
            ticket,
            installer_key,
            began_s,
        )

    def note_seq(self, ticket_id: bytes, seq: int) -> None:
        """Remember how far a ticket was commanded."""
        self.seqs.pop(ticket_id, None)
        self.seqs[ticket_id] = seq
        while len(self.seqs) > INSTALL_TICKETS_KEPT_MAX:
            del self.seqs[next(iter(self.seqs))]

    def note_used(self, ticket_id: bytes) -> None:
        """Remember that a ticket is void here."""
        self.used = [*self.used, ticket_id][-INSTALL_TICKETS_KEPT_MAX:]

    def is_done(self, *steps: Step) -> bool:
        """Whether each of these steps is over and well."""
        return all(self.steps[step].state in DONE_STATES for step in steps)

    def has_passed(self, *steps: Step) -> bool:
        """Whether each of these steps was seen to hold."""
        return all(self.steps[step].state is StepState.PASS for step in steps)

    def dump(self) -> bytes:
        """Return the bytes to keep."""
        return bytes(
            strict_cbor.dumps(
                {
                    1: _VERSION,
                    2: str(self.stage),
                    3: self.ticket,
                    4: self.installer_key,
                    5: [row_fields(row) for row in self.steps.values()],
                    6: self.facts,
                    7: self.photos,
                    8: None if self.consent is None else list(self.consent),
                    9: self.began_s,
                    10: self.bitrate,
                    11: sorted(self.ids),
                    12: [self.bind, self.bound],
                    13: [self.record, self.attestation, self.signed],
                    14: [[ticket, seq] for ticket, seq in self.seqs.items()],
                    15: self.used,
                    16: self.report_seq,
                }
            )
        )

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Return what was kept, steps under way set back; an empty one for no data or damage."""
        if not data:
            return cls()
        try:
            return cls._read(strict_cbor.loads(data, INSTALL_PROGRESS_BYTES_MAX, _DEPTH))
        except (ValueError, KeyError, TypeError, IndexError):
            return cls(is_damaged=True)

    @classmethod
    def _read(cls, kept: dict[int, Any]) -> Self:
        if kept[1] != _VERSION:
            raise ValueError(f"progress of version {kept[1]}")
        rows = [read_row(row) for row in kept[5]]
        return cls(
            stage=Stage(kept[2]),
            ticket=kept[3],
            installer_key=kept[4],
            steps={step: fresh(step) for step in STEPS} | {row.step: _settled(row) for row in rows},
            facts=kept[6],
            photos=kept[7],
            consent=None if kept[8] is None else (kept[8][0], kept[8][1]),
            began_s=kept[9],
            bitrate=kept[10],
            ids=frozenset(kept[11]),
            bind=kept[12][0],
            bound=kept[12][1],
            record=kept[13][0],
            attestation=kept[13][1],
            signed=kept[13][2],
            seqs=dict(kept[14]),
            used=kept[15],
            report_seq=kept[16],
        )


def fresh(step: Step) -> StepRow:
    """Return a step before anything happened."""
    return StepRow(step=step, state=StepState.WAITING)


def _settled(row: StepRow) -> StepRow:
    is_under_way = row.state in (StepState.RUNNING, StepState.ASKING)
    return StepRow(step=row.step, state=StepState.WAITING, code="INTERRUPTED") if is_under_way else row
