"""All tables, so that migrations and tests see one complete metadata: import a new table here."""

from sqlmodel import SQLModel

from backend.store import (
    access_log,
    api_keys,
    authority,
    batches,
    certificates,
    chains,
    devices,
    dictionaries,
    dispositions,
    enrolment_tokens,
    integrity_events,
    latest,
    ledger,
    mcus,
    order_outbox,
    orders,
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
    "authority",
    "batches",
    "certificates",
    "chains",
    "devices",
    "dictionaries",
    "dispositions",
    "enrolment_tokens",
    "integrity_events",
    "latest",
    "ledger",
    "mcus",
    "order_outbox",
    "orders",
    "organisations",
    "quarantine",
    "rollups",
    "service_keys",
]
