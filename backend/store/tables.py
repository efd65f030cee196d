"""All tables, so that migrations and tests see one complete metadata: import a new table here."""

from sqlmodel import SQLModel

from backend.store import (
    access_log,
    api_keys,
    batches,
    certificates,
    chains,
    devices,
    dictionaries,
    enrolment_tokens,
    integrity_events,
    latest,
    ledger,
    organisations,
    quarantine,
    rollups,
    service_keys,
)

METADATA = SQLModel.metadata

__all__ = [
    "METADATA",
    "access_log",
    "api_keys",
    "batches",
    "certificates",
    "chains",
    "devices",
    "dictionaries",
    "enrolment_tokens",
    "integrity_events",
    "latest",
    "ledger",
    "organisations",
    "quarantine",
    "rollups",
    "service_keys",
]
