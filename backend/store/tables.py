"""All tables, so that migrations and tests see one complete metadata: import a new table here."""

from sqlmodel import SQLModel

from backend.store import (
    access_log,
    api_keys,
    certificates,
    devices,
    enrolment_tokens,
    organisations,
    service_keys,
)

METADATA = SQLModel.metadata

__all__ = [
    "METADATA",
    "access_log",
    "api_keys",
    "certificates",
    "devices",
    "enrolment_tokens",
    "organisations",
    "service_keys",
]
