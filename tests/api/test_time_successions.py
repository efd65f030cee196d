"""The next key that signs time reaches the microcontroller in the bundle of what is in force (SPEC §12)."""

from pathlib import Path

from backend.usecases.authority_documents import TIME_SUCCESSIONS_MAX, documents_in_force
from backend.usecases.register_service_keys import ServicePurpose
from backend.usecases.succeed_service_key import succeed_service_key
from device.mcu import time_keys
from protocol.authority_bundle import FOR_THE_MCU, DocumentKind
from protocol.ids import cose_key_bytes
from protocol.orders import check_signature
from tests.builders.backend import SECOND, make_backend


def test_the_last_links_travel_the_older_first_and_the_microcontroller_follows_them(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    signers = [backend.identity.receipt_signer]
    with backend.database() as database:
        for turn in range(TIME_SUCCESSIONS_MAX + 1):
            with database.writing() as session:
                new = succeed_service_key(
                    session,
                    path=backend.settings.receipt_key_path,
                    signer=signers[-1],
                    purpose=ServicePurpose.RECEIPT,
                    org_id=backend.org_id,
                    now_us=backend.clock() + (turn + 1) * SECOND,
                )
            signers.append(new)
        with database.reading() as session:
            found = documents_in_force(session, org_id=backend.org_id)
    links = [data for kind, data in found if kind is DocumentKind.SUCCESSION]
    assert DocumentKind.SUCCESSION in FOR_THE_MCU
    assert len(links) == TIME_SUCCESSIONS_MAX
    entries = time_keys.first([cose_key_bytes(signers[1].public_key)])
    for link in links:
        word, entries = time_keys.succeed(entries, link, check_signature)
        assert word == "OK"
    assert time_keys.find(entries, signers[-1].kid) is not None
