"""Which function reads a vector, and with what trust: a name for each, as the JSON files say it.

Rules: the lookups hold exactly the published keys that may sign; `stranger` is in none.

Example:
    >>> sorted(READERS)[:3]
    ['authority-bundle', 'authority-question', 'basis']
"""

from collections.abc import Callable, Mapping

from protocol.authority_bundle import decode_authority_question, decode_bundle, decode_challenge_question
from protocol.batch import open_batch
from protocol.enrolment import open_enrolment_proof, open_renewal_proof
from protocol.facts import decode_facts
from protocol.fixes import decode_fixes
from protocol.frames import decode_frames
from protocol.gate_records import open_gate_record
from protocol.ids import device_id
from protocol.install_forms import open_command, open_work_ticket
from protocol.install_record import open_record
from protocol.install_report import open_commissioning, open_report
from protocol.key_succession import KeyRole, open_key_succession
from protocol.loan_facts import open_loan_facts, open_loan_record, read_basis, read_question
from protocol.policy_codec import open_policy
from protocol.receipts import open_receipt
from protocol.signals import decode_signals
from protocol.signed_time import open_time_request, open_time_token
from protocol.standing import open_standing_request
from protocol.topics import decode_status
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.loans import COUNSEL, INTEGRATION
from protocol.vectors.story import DEVICE, NONCE, fixed_bytes
from protocol.window import decode_windows

_DEVICE = published_lookup("device-1")
_RECEIPT = published_lookup("receipt-1")
_INTEGRATION = published_lookup(INTEGRATION)
_POLICY = published_lookup("policy-1")
_OTHER_DEVICE = device_id(published_signer("device-2").public_key)

READERS: Mapping[str, Callable[[bytes], object]] = {
    "authority-bundle": decode_bundle,
    "authority-question": decode_authority_question,
    "batch": lambda data: open_batch(data, _DEVICE, device=DEVICE),
    "batch-of-device-2": lambda data: open_batch(data, _DEVICE, device=_OTHER_DEVICE),
    "commissioning": lambda data: open_commissioning(data, published_lookup("mcu-1")),
    "commissioning-record": lambda data: open_record(data, published_lookup("device-1", "installer-1")),
    "challenge-question": decode_challenge_question,
    "basis": read_basis,
    "enrol": open_enrolment_proof,
    "facts": decode_facts,
    "facts-question": read_question,
    "fixes": decode_fixes,
    "frames": decode_frames,
    "gate-record": lambda data: open_gate_record(data, published_lookup("safety-1", COUNSEL)),
    "install-command": open_command,
    "install-report": lambda data: open_report(data, _DEVICE),
    "key-succession": lambda data: open_key_succession(data, _RECEIPT, role=KeyRole.RECEIPT),
    "loan-facts": lambda data: open_loan_facts(data, _INTEGRATION),
    "loan-record": lambda data: open_loan_record(data, _INTEGRATION),
    "policy": lambda data: open_policy(data, _POLICY),
    "receipt": lambda data: open_receipt(data, _RECEIPT),
    "renew": lambda data: open_renewal_proof(data, _DEVICE),
    "signals": decode_signals,
    "standing-request": lambda data: open_standing_request(data, _DEVICE, device=DEVICE),
    "standing-request-of-device-2": lambda data: open_standing_request(data, _DEVICE, device=_OTHER_DEVICE),
    "status": decode_status,
    "time": lambda data: open_time_token(data, _RECEIPT, nonce=NONCE),
    "time-other-nonce": lambda data: open_time_token(data, _RECEIPT, nonce=fixed_bytes("another nonce")),
    "time-request": lambda data: open_time_request(data, _DEVICE, device=DEVICE),
    "time-request-of-device-2": lambda data: open_time_request(data, _DEVICE, device=_OTHER_DEVICE),
    "window": decode_windows,
    "work-ticket": lambda data: open_work_ticket(data, _POLICY),
}
"""Reader name to function: returns what was read, or raises `ProtocolError`."""
