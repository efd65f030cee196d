"""How a box becomes known and renews its certificate. A box has no API key: its proofs protect these."""

import base64
import binascii
from typing import Annotated, Self

from fastapi import APIRouter, status
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlmodel import Session

from backend.api.deps import CurrentServices, NowUs, ReadSession, Services, WriteSession
from backend.api.openapi import problems
from backend.api.problems import from_refusal
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime
from backend.clock import to_datetime
from backend.domain.refusal import Refusal
from backend.store.service_keys import list_service_keys
from backend.usecases.enrol_device import EnrolledDevice, EnrolmentRequest, enrol_device
from backend.usecases.register_service_keys import ServicePurpose
from backend.usecases.renew_certificate import renew_certificate, renewal_nonce
from protocol.limits import CSR_CHARS_MAX, NAME_CHARS_MAX, PROOF_CHARS_MAX, RENEWAL_NONCE_LIFE_S_MAX

router = APIRouter(tags=["enrolment"])

_CSR = "-----BEGIN CERTIFICATE REQUEST-----\n...\n-----END CERTIFICATE REQUEST-----\n"
_CERTIFICATE = "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n"
_COSE_KEY = "a401022001215820" + "00" * 32 + "225820" + "00" * 32
_S_US = 1_000_000


def _is_base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as wrong:
        raise ValueError("base64 is expected") from wrong
    return text


CsrPem = Annotated[str, Field(max_length=CSR_CHARS_MAX, description="PKCS#10 in PEM for a P-256 TLS key.")]
Base64 = Annotated[str, Field(max_length=PROOF_CHARS_MAX), AfterValidator(_is_base64)]


class EnrolIn(BaseModel):
    """What a box sends to become known."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"token": "tboxe_" + "0" * 48, "csr_pem": _CSR, "proof": "0oRYJ6IBKA==", "label": "TB-000123"}
            ]
        },
    )

    token: str = Field(max_length=128, description="The one-time token.")
    csr_pem: CsrPem
    proof: Base64 = Field(description="COSE_Sign1 of kind ENROL by the agent key, in base64.")
    label: str | None = Field(
        default=None, min_length=1, max_length=NAME_CHARS_MAX, description="What is printed on the box."
    )


class BrokerOut(BaseModel):
    """Where the box connects."""

    host: str = Field(description="Host name or address, as in the broker's certificate.")
    port: int = Field(description="Port of MQTT 3.1.1 over mutual TLS.")


class TrustOut(BaseModel):
    """A certificate, and whom the box believes from now on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "device": EXAMPLE_DEVICE,
                    "certificate_pem": _CERTIFICATE * 2,
                    "ca_pem": _CERTIFICATE,
                    "receipt_keys": [_COSE_KEY],
                    "policy_keys": [_COSE_KEY],
                    "successions": [],
                    "broker": {"host": "broker.example.com", "port": 8883},
                }
            ]
        }
    )

    device: str = Field(description="Device id: the certificate's CN, and the name in topics.")
    certificate_pem: str = Field(description="Certificate for the TLS key, then the CA's.")
    ca_pem: str = Field(description="The CA that the broker's certificate comes from too.")
    receipt_keys: list[str] = Field(description="Keys that sign receipts now, COSE_Key in hex, newest first.")
    policy_keys: list[str] = Field(description="Keys that sign policies now, COSE_Key in hex, newest first.")
    successions: list[str] = Field(
        description="COSE_Sign1 of kind KEY_SUCCESSION in hex, oldest first: a box that pinned an older key "
        "follows these to the keys above, and believes nothing else."
    )
    broker: BrokerOut

    @classmethod
    def of(cls, enrolled: EnrolledDevice, *, session: Session, services: Services) -> Self:
        """Put together what a box is told."""
        receipt = list_service_keys(session, purpose=ServicePurpose.RECEIPT)
        policy = list_service_keys(session, purpose=ServicePurpose.POLICY)
        links = sorted((row.created_us, row.succession) for row in (*receipt, *policy) if row.succession)
        return cls(
            device=enrolled.device_id,
            certificate_pem=enrolled.certificate_pem,
            ca_pem=services.identity.ca_pem,
            receipt_keys=[row.cose_key.hex() for row in receipt if row.retired_us is None],
            policy_keys=[row.cose_key.hex() for row in policy if row.retired_us is None],
            successions=[link.hex() for _, link in links],
            broker=BrokerOut(host=services.settings.broker_host, port=services.settings.broker_port),
        )


class NonceIn(BaseModel):
    """Which box wants to renew."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"device": EXAMPLE_DEVICE}]})

    device: str = Field(pattern="^[0-9a-f]{64}$", description="Device id.")


class NonceOut(BaseModel):
    """A nonce to sign."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"nonce": "00" * 16, "expires_at": EXAMPLE_TIME}]}
    )

    nonce: str = Field(description="16 bytes in hex.")
    expires_at: UtcTime


class RenewalIn(BaseModel):
    """What a box sends to renew its certificate."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"device": EXAMPLE_DEVICE, "csr_pem": _CSR, "proof": "0oRYJ6IBKA=="}]
        },
    )

    device: str = Field(pattern="^[0-9a-f]{64}$", description="Device id.")
    csr_pem: CsrPem
    proof: Base64 = Field(description="COSE_Sign1 of kind RENEW by the agent key, in base64.")


@router.post(
    "/enrol",
    summary="Enrol a box",
    status_code=status.HTTP_201_CREATED,
    responses=problems(403, 409, 429),
)
def enrol(
    wanted: EnrolIn, session: WriteSession, reading: ReadSession, services: CurrentServices, now_us: NowUs
) -> TrustOut:
    """Enter a box with a one-time token, and give it a certificate and the keys it shall believe.

    The proof is signed by the agent key, whose thumbprint becomes the device id; it names the SHA-256 of the
    CSR's DER and of the token. Sending the same request again gives the same answer.
    """
    request = EnrolmentRequest(
        token=wanted.token,
        csr_pem=wanted.csr_pem,
        proof=base64.b64decode(wanted.proof),
        label=wanted.label,
    )
    outcome = enrol_device(
        session,
        request,
        identity=services.identity,
        hook=services.settings.enrol_hook,
        now_us=now_us,
    )
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return TrustOut.of(outcome, session=reading, services=services)


@router.post("/renewals/nonce", summary="Ask for a renewal's nonce")
def ask_nonce(wanted: NonceIn, services: CurrentServices, now_us: NowUs) -> NonceOut:
    """Return a nonce that this box can use once within five minutes. Whether the box is known is not said."""
    nonce = renewal_nonce(wanted.device, identity=services.identity, now_us=now_us)
    expires_us = (now_us // _S_US + RENEWAL_NONCE_LIFE_S_MAX) * _S_US
    return NonceOut(nonce=nonce.hex(), expires_at=to_datetime(expires_us))


@router.post(
    "/renewals",
    summary="Renew a certificate",
    status_code=status.HTTP_201_CREATED,
    responses=problems(403, 409),
)
def renew(
    wanted: RenewalIn, session: WriteSession, reading: ReadSession, services: CurrentServices, now_us: NowUs
) -> TrustOut:
    """Give a box its next certificate, also when the last one has expired; a revoked box is refused.

    The proof names the nonce and the SHA-256 of the CSR's DER. Sending the same request again gives the same
    answer.
    """
    outcome = renew_certificate(
        session,
        device_id=wanted.device,
        csr_pem=wanted.csr_pem,
        proof=base64.b64decode(wanted.proof),
        identity=services.identity,
        now_us=now_us,
    )
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    return TrustOut.of(outcome, session=reading, services=services)
