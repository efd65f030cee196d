"""Evidence verified offline: one file, the keys the verifier trusts, a verdict with its reasons.

Rules: see `evidence_report` for trust and verdicts, `evidence_file` for the form. Order: seal, parts, batches
in themselves, chains, sections, receipts. Every check goes on after a finding, so that one report names all
that is wrong. Bytes that are not those that were sealed are never looked into.

This module reads no file, no clock and no network.

Example:
    >>> report = verify(b"a photograph", Trust(devices=frozenset(), backend_keys={}))
    >>> report.verdict, report.verdict.exit_code
    (<Verdict.UNVERIFIABLE: 'UNVERIFIABLE'>, 20)
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from protocol import cose_sign
from protocol.batch import disassemble, head_hash, signed_place
from protocol.envelope import Kind, open_sign1, verify_sign1
from protocol.errors import ProtocolError, Reject
from protocol.evidence_absence import answer_absence
from protocol.evidence_authority import read_authority
from protocol.evidence_chains import check_chain, check_origins, check_sections
from protocol.evidence_dispositions import check_dispositions
from protocol.evidence_file import EvidenceFile, FoundPart, NotEvidenceError, PartState, read_file
from protocol.evidence_ledger import Ledger, Place, SignedBatch
from protocol.evidence_log import check_log
from protocol.evidence_manifest import PartKind
from protocol.evidence_orders import check_orders
from protocol.evidence_report import Absence, Code, Finding, OrderReport, Report, Trust, Verdict, Weight
from protocol.header import BatchHeader
from protocol.header_codec import decode_header
from protocol.ids import ChainId, public_key_from_cose, thumbprint
from protocol.key_succession import KeyRole, open_key_succession
from protocol.limits import HEADER_BYTES_MAX
from protocol.receipts import open_receipt

__all__ = ["Report", "Trust", "Verdict", "verify"]

_VERDICTS = {
    Weight.NOTE: Verdict.VERIFIED,
    Weight.GAP: Verdict.VERIFIED_WITH_GAPS,
    Weight.UNVERIFIABLE: Verdict.UNVERIFIABLE,
    Weight.CONTRADICTION: Verdict.CONTRADICTED,
}


def verify(data: bytes, trust: Trust) -> Report:
    """Verify an evidence file.

    Args:
        data: the whole file.
        trust: what the verifier believes; nothing in the file adds to it, except backend keys that a trusted
            one hands over to.
    """
    try:
        file = read_file(data)
    except NotEvidenceError as error:
        return _unreadable(Code.NOT_EVIDENCE, Weight.UNVERIFIABLE, f"{error}.")
    except ProtocolError as error:
        weight = Weight.UNVERIFIABLE if error.code is Reject.UNSUPPORTED_VERSION else Weight.CONTRADICTION
        text = f"The list of parts that was sealed cannot be read, so the file was changed: {error.detail}."
        return _unreadable(Code.MANIFEST_DAMAGED, weight, text)
    return _Check(file, trust).run()


def _unreadable(code: Code, weight: Weight, text: str) -> Report:
    return Report(
        verdict=_VERDICTS[weight],
        device=None,
        from_us=None,
        to_us=None,
        sealed_us=None,
        sealed_by=None,
        purpose=None,
        chains=(),
        findings=(Finding(code=code, weight=weight, text=text),),
    )


class _Check:
    """One verification."""

    def __init__(self, file: EvidenceFile, trust: Trust) -> None:
        self._ledger = Ledger(file=file)
        self._file = file
        self._manifest = file.manifest
        self._trust = trust
        self._refused: dict[Place, bytes] = {}  # by place, the head hash of the first refused batch

    def run(self) -> Report:
        """Check everything and report."""
        backend_keys = self._backend_keys()
        self._check_seal(backend_keys)
        self._check_parts()
        self._read_batches(self._device_keys())
        self._read_sections()
        self._read_receipts(backend_keys)
        chains = tuple(check_chain(self._ledger, claim) for claim in self._manifest.chains)
        check_origins(self._ledger)
        check_sections(self._ledger)
        orders, absence = self._check_orders()
        if not chains and not self._manifest.dispositions:
            self._ledger.find(
                Code.NOTHING_IN_IT, Weight.UNVERIFIABLE, "The file holds no batch of this interval."
            )
        heaviest = max((finding.weight for finding in self._ledger.findings), default=Weight.NOTE)
        return Report(
            verdict=_VERDICTS[heaviest],
            device=self._manifest.device,
            from_us=self._manifest.from_us,
            to_us=self._manifest.to_us,
            sealed_us=self._manifest.sealed_us,
            sealed_by=self._file.sign1.kid.hex(),
            purpose=self._manifest.purpose,
            chains=chains,
            findings=tuple(sorted(self._ledger.findings, key=lambda finding: -finding.weight)),
            orders=orders,
            absence=absence,
        )

    # --- orders ---

    def _check_orders(self) -> tuple[tuple[OrderReport, ...], Absence | None]:
        """Check orders, the log and what the car did, where the file is about them."""
        if not self._manifest.dispositions and not any(
            self._ledger.whole(kind) for kind in (PartKind.MCU_KEY, PartKind.ORDER, PartKind.DISPOSITION)
        ):
            return (), None
        mcu_keys = self._mcu_keys()
        log = check_log(self._ledger, self._trust)
        authority = read_authority(self._ledger, self._trust)
        orders = check_orders(self._ledger, authority, log, mcu_keys)
        chains = check_dispositions(self._ledger, orders, mcu_keys)
        told = tuple(
            OrderReport(
                cmd_id=order.cmd_id.hex(),
                type=order.type.name,
                holds=order.holds,
                sentences=tuple(order.sentences),
            )
            for order in orders.values()
        )
        return told, answer_absence(self._ledger, chains, orders)

    def _mcu_keys(self) -> dict[bytes, bytes]:
        """Return x‖y of the microcontroller's keys in the file, by kid, and say which are not trusted."""
        trusted = self._trust.mcus.get(self._manifest.device, frozenset())
        keys: dict[bytes, bytes] = {}
        for _, data in self._ledger.whole(PartKind.MCU_KEY):
            try:
                kid = thumbprint(public_key_from_cose(data))
            except ProtocolError:
                continue
            keys[kid] = cose_sign.key_xy(data)
            if kid not in trusted:
                text = f"The trust file does not name the microcontroller {kid.hex()} of the box."
                self._ledger.find(Code.MCU_UNTRUSTED, Weight.UNVERIFIABLE, text)
        if not keys:
            text = "The key of the box's microcontroller is not in the file."
            self._ledger.find(Code.MCU_UNTRUSTED, Weight.UNVERIFIABLE, text)
        return keys

    # --- keys and seal ---

    def _backend_keys(self) -> dict[bytes, EllipticCurvePublicKey]:
        """Return the trusted backend keys, and those that they hand over to, link by link."""
        keys = dict(self._trust.backend_keys)
        links = [data for _, data in self._ledger.whole(PartKind.SUCCESSION)]
        for _ in links:
            for data in links:
                try:
                    link = open_key_succession(data, keys.get, role=KeyRole.RECEIPT)
                except ProtocolError:
                    continue  # of a key we do not trust, or not yet
                successor = public_key_from_cose(link.successor)
                keys[thumbprint(successor)] = successor
        return keys

    def _device_keys(self) -> dict[bytes, EllipticCurvePublicKey]:
        """Return the keys of the box: the one its name proves, and those of the trust file."""
        device = self._manifest.device
        keys = dict(self._trust.device_keys.get(device, {}))
        for _, data in self._ledger.whole(PartKind.KEY):
            try:
                key = public_key_from_cose(data)
            except ProtocolError:
                continue
            if thumbprint(key).hex() == device:
                keys[thumbprint(key)] = key
        if device not in self._trust.devices:
            text = f"The trust file does not name the box {device}."
            self._ledger.find(Code.DEVICE_UNTRUSTED, Weight.UNVERIFIABLE, text)
        return keys

    def _check_seal(self, keys: Mapping[bytes, EllipticCurvePublicKey]) -> None:
        kid = self._file.sign1.kid
        key = keys.get(kid)
        if key is None:
            text = f"The file was sealed by the key {kid.hex()}, which the trust file does not name."
            self._ledger.find(Code.SEAL_UNTRUSTED, Weight.UNVERIFIABLE, text)
            return
        try:
            verify_sign1(self._file.sign1, Kind.EVIDENCE, key)
        except ProtocolError:
            text = "The seal does not hold: the list of parts was changed after the backend had sealed it."
            self._ledger.find(Code.SEAL_BROKEN, Weight.CONTRADICTION, text)

    def _check_parts(self) -> None:
        """Name every part that is not as it was sealed, and everything that was not sealed."""
        said = {
            PartState.ALTERED: (Code.PART_ALTERED, "was altered after it had been sealed"),
            PartState.MISSING: (Code.PART_MISSING, "was removed after it had been sealed"),
            PartState.MOVED: (Code.PART_MOVED, "was moved to another place after it had been sealed"),
        }
        for part in self._file.parts:
            if part.state is not PartState.INTACT:
                code, what = said[part.state]
                name = part.ref.name
                self._ledger.find(
                    code,
                    Weight.CONTRADICTION,
                    f"{name[0].upper()}{name[1:]} {what}.",
                    chain=part.ref.chain,
                    first=part.ref.seq,
                    section=part.ref.section,
                )
        if self._file.cut_at is not None:
            text = f"The file ends at byte {self._file.cut_at}, before its last part is complete."
            self._ledger.find(Code.FILE_CUT, Weight.CONTRADICTION, text)
        for offset, length in self._file.strangers:
            text = f"{length} bytes at byte {offset} were added: no sealed part is there."
            self._ledger.find(Code.PART_ADDED, Weight.CONTRADICTION, text)

    # --- what the box signed ---

    def _read_batches(self, keys: Mapping[bytes, EllipticCurvePublicKey]) -> None:
        for part, data in self._ledger.whole(PartKind.HEADER):
            header = self._signed_header(part, data, keys)
            if header is None:
                continue
            place = (header.chain, header.seq)
            batch = SignedBatch(header=header, hash=head_hash(data))
            known = self._ledger.batches.setdefault(place, batch)
            if known.hash != batch.hash:
                text = f"Two different batches stand as number {header.seq}."
                self._ledger.find(
                    Code.WRONG_PLACE, Weight.CONTRADICTION, text, chain=header.chain, first=header.seq
                )
        for part, data in self._ledger.whole(PartKind.QUARANTINED):
            self._read_refused(part, data, keys)

    def _signed_header(
        self, part: FoundPart, data: bytes, keys: Mapping[bytes, EllipticCurvePublicKey]
    ) -> BatchHeader | None:
        """Return a header that the box signed and that is what the list says, or None with a finding."""
        ref, name = part.ref, part.ref.name
        try:
            header = decode_header(open_sign1(data, Kind.BATCH, keys.get, max_bytes=HEADER_BYTES_MAX).payload)
        except ProtocolError as error:
            self._find_unsigned(name, error, chain=ref.chain, first=ref.seq)
            return None
        if header.device != self._manifest.device:
            text = f"In place of {name} stands a batch of another box, {header.device}."
            self._ledger.find(Code.OTHER_DEVICE, Weight.CONTRADICTION, text, chain=ref.chain, first=ref.seq)
            return None
        if (header.chain, header.seq) != (ref.chain, ref.seq):
            text = f"In place of {name} stands batch {header.seq} of chain {header.chain.hex()}."
            self._ledger.find(Code.WRONG_PLACE, Weight.CONTRADICTION, text, chain=ref.chain, first=ref.seq)
            return None
        return header

    def _find_unsigned(
        self, name: str, error: ProtocolError, *, chain: ChainId | None, first: int | None
    ) -> None:
        """Say why a header does not count: another key, a bad signature, or content no version allows."""
        match error.code:
            case Reject.UNKNOWN_KEY:
                code = Code.NOT_SIGNED_BY_BOX
                why = "was signed by a key that neither the box's name nor the trust file vouches for"
            case Reject.BAD_SIG | Reject.HIGH_S:
                code, why = Code.NOT_SIGNED_BY_BOX, "was not signed by the box: its signature does not hold"
            case _:
                code, why = Code.BATCH_UNREADABLE, f"cannot be read: {error.detail}"
        text = f"{name[0].upper()}{name[1:]} {why}."
        self._ledger.find(code, Weight.CONTRADICTION, text, chain=chain, first=first)

    def _read_refused(
        self, part: FoundPart, data: bytes, keys: Mapping[bytes, EllipticCurvePublicKey]
    ) -> None:
        """Note a batch that the box signed and the backend kept apart: a second story, or the only one here.

        It counts only if the box did sign it, for this very place, and not what stands there anyway: a
        backend alone must not be able to make a box look as if it told two stories.
        """
        ref = part.ref
        try:
            signed = disassemble(data)[0]
            message = open_sign1(signed, Kind.BATCH, keys.get, max_bytes=HEADER_BYTES_MAX)
        except ProtocolError as error:
            self._find_unsigned(ref.name, error, chain=ref.chain, first=ref.seq)
            return
        digest = head_hash(signed)
        known = self._ledger.batches.get((ref.chain, ref.seq)) if ref.chain and ref.seq else None
        is_same = known is not None and known.hash == digest
        is_there = signed_place(message.payload) == (self._manifest.device, ref.chain, ref.seq)
        if ref.chain is None or ref.seq is None or is_same or not is_there:
            text = (
                f"{ref.name[0].upper()}{ref.name[1:]} is no second story: it is the batch that stands there,"
                " or was signed for another place."
            )
            self._ledger.find(Code.WRONG_PLACE, Weight.CONTRADICTION, text, chain=ref.chain, first=ref.seq)
        elif known is not None or self._refused.setdefault((ref.chain, ref.seq), digest) != digest:
            text = f"The box also signed another batch as number {ref.seq}; the backend refused and kept it."
            self._ledger.find(Code.TWO_STORIES, Weight.GAP, text, chain=ref.chain, first=ref.seq)
        else:
            text = f"The backend refused and kept the box's batch {ref.seq}; no other stands there here."
            self._ledger.find(Code.REFUSED_KEPT, Weight.GAP, text, chain=ref.chain, first=ref.seq)

    def _read_sections(self) -> None:
        for part, data in self._ledger.whole(PartKind.SECTION):
            ref = part.ref
            if ref.chain is not None and ref.seq is not None and ref.section is not None:
                self._ledger.sections[ref.chain, ref.seq, ref.section] = data

    def _read_receipts(self, keys: Mapping[bytes, EllipticCurvePublicKey]) -> None:
        for part, data in self._ledger.whole(PartKind.RECEIPT):
            try:
                receipt = open_receipt(data, keys.get)
            except ProtocolError as error:
                is_unknown = error.code is Reject.UNKNOWN_KEY
                self._ledger.find(
                    Code.RECEIPT_UNTRUSTED if is_unknown else Code.RECEIPT_BROKEN,
                    Weight.UNVERIFIABLE if is_unknown else Weight.CONTRADICTION,
                    "A receipt was signed by a key that the trust file does not name."
                    if is_unknown
                    else f"A receipt does not hold: {error.detail}.",
                    chain=part.ref.chain,
                )
                continue
            if receipt.device != self._manifest.device or receipt.chain != part.ref.chain:
                text = "A receipt is about another box or chain."
                self._ledger.find(Code.RECEIPT_BROKEN, Weight.CONTRADICTION, text, chain=part.ref.chain)
                continue
            self._ledger.receipts[receipt.chain] = receipt
