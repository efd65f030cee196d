"""Whether an installation has proved that the relay can only hold a start back (command-authority §4.6).

Rules: the box's steps say it and the microcontroller's own benches say it, or it is not proved. Held: one
cranked while the coil was on, the contact was seen open, and nothing started. Running: an engine ran while
the coil was on. A start while held is a bridged contact, whatever else was seen.

Example:
    >>> lack_of_proof(record, commissioning)
    'the microcontroller saw no crank while it held'
"""

from protocol.install_record import Record
from protocol.install_report import Commissioning
from protocol.install_vocabulary import RELAY_PROOF, StepState, Verdict


def lack_of_proof(record: Record, said: Commissioning) -> str | None:
    """Return what is missing of the relay proof, or None when it is whole.

    Args:
        record: As box and installer have signed it.
        said: The microcontroller's word about the same record.
    """
    passed = {row.step for row in record.steps if row.state is StepState.PASS}
    held = [seen for seen in said.benches if seen.held_s and seen.crank_s]
    rules = (
        (record.verdict is Verdict.BOUND, f"the record says {record.verdict}"),
        (passed.issuperset(RELAY_PROOF), "a step of the relay proof did not pass"),
        (not any(seen.starts for seen in said.benches), "the engine started while the coil held"),
        (bool(held), "the microcontroller saw no crank while it held"),
        (any(seen.is_contact_open_seen for seen in held), "the contact was not seen open while it held"),
        (any(seen.held_s and seen.engine_s for seen in said.benches), "no engine was seen running on"),
    )
    return next((words for holds, words in rules if not holds), None)
