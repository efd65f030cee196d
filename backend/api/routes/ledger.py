"""The log, as anybody with a key may check it: checkpoint, leaves without content, proofs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from backend import ledger
from backend.api.deps import ReadSession, allow
from backend.api.openapi import problems
from backend.api.problems import NOT_FOUND, ProblemError
from backend.domain.access import Permission
from backend.ledger import LeafType, LedgerError
from protocol.merkle import SIZE_MAX

router = APIRouter(prefix="/ledger", tags=["ledger"])

_HASH = "5f" * 32
Size = Annotated[int, Query(ge=1, le=SIZE_MAX, description="Leaves of the tree that the proof is for.")]


class LeafOut(BaseModel):
    """One leaf: a type and a commitment, of which nobody can tell what it commits to."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "index": 41,
                    "type": "ORDER",
                    "leaf": "01" + _HASH,
                    "entered_us": 1_795_500_000_000_000,
                    "is_late": False,
                    "is_erased": False,
                }
            ]
        }
    )

    index: int = Field(description="Place in the log, from 0.")
    type: str = Field(description="Name of the leaf's first byte.")
    leaf: str = Field(description="The 33 bytes that are hashed, hex.")
    entered_us: int = Field(description="When, UTC in µs; the backend's word, not part of the leaf.")
    is_late: bool = Field(description="Whether it waited while the ledger was down.")
    is_erased: bool = Field(description="Whether salt and content are gone, so that nothing opens it.")


class InclusionOut(BaseModel):
    """A leaf stands at its index in the tree of that size."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"index": 41, "size": 42, "root": _HASH, "proof": [_HASH]}]}
    )

    index: int = Field(description="Place of the leaf.")
    size: int = Field(description="Leaves of the tree.")
    root: str = Field(description="Root of that tree, hex; compare it with a checkpoint.")
    proof: list[str] = Field(description="Hashes from the leaf upwards, hex (RFC 9162 §2.1.3).")


class ConsistencyOut(BaseModel):
    """The larger tree begins with the smaller one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"first": 40, "second": 42, "proof": [_HASH, _HASH]}]}
    )

    first: int = Field(description="Leaves of the smaller tree.")
    second: int = Field(description="Leaves of the larger tree.")
    proof: list[str] = Field(description="Hashes, hex (RFC 9162 §2.1.4).")


@router.get(
    "/checkpoint",
    summary="The log's last checkpoint",
    dependencies=[allow(Permission.SELF_READ)],
    response_class=PlainTextResponse,
    responses=problems(404) | {200: {"content": {"text/plain": {"example": "log.example/tbox\n42\nX19f…"}}}},
)
def read_checkpoint(
    session: ReadSession,
    witnessed: Annotated[
        int, Query(ge=0, le=16, description="Only one with at least so many cosignatures.")
    ] = 0,
) -> PlainTextResponse:
    """Return a signed note (C2SP tlog-checkpoint) with the cosignatures of witnesses."""
    signed = ledger.latest_checkpoint(session, witnessed_min=witnessed)
    if signed is None:
        raise ProblemError(NOT_FOUND, "no such checkpoint has been signed yet")
    return PlainTextResponse(signed.note)


@router.get(
    "/entries/{index}",
    summary="One leaf",
    dependencies=[allow(Permission.SELF_READ)],
    responses=problems(404),
)
def read_entry(
    session: ReadSession,
    index: Annotated[int, Path(ge=0, le=SIZE_MAX, description="Place of the leaf, from 0.")],
) -> LeafOut:
    """Return a leaf as it is hashed. What it commits to is with whom it concerns, and in evidence."""
    leaf = ledger.read_leaf(session, index)
    if leaf is None:
        raise ProblemError(NOT_FOUND, "the log has no such leaf")
    return LeafOut(
        index=leaf.index,
        type=LeafType(leaf.leaf_type).name,
        leaf=leaf.data.hex(),
        entered_us=leaf.at_us,
        is_late=leaf.is_late,
        is_erased=leaf.is_erased,
    )


@router.get(
    "/proofs/inclusion",
    summary="Proof that a leaf is in the log",
    dependencies=[allow(Permission.SELF_READ)],
    responses=problems(404),
)
def read_inclusion(
    session: ReadSession,
    index: Annotated[int, Query(ge=0, le=SIZE_MAX, description="Place of the leaf, from 0.")],
    size: Size,
) -> InclusionOut:
    """Return the proof for one leaf in the tree of a size, usually a checkpoint's."""
    try:
        proof = ledger.prove_inclusion(session, index, size)
        root = ledger.root_at(session, size)
    except LedgerError as error:
        raise ProblemError(NOT_FOUND, error.what) from error
    return InclusionOut(index=index, size=size, root=root.hex(), proof=[hash_.hex() for hash_ in proof])


@router.get(
    "/proofs/consistency",
    summary="Proof that the log only grew",
    dependencies=[allow(Permission.SELF_READ)],
    responses=problems(404),
)
def read_consistency(session: ReadSession, first: Size, second: Size) -> ConsistencyOut:
    """Return the proof from one size to a larger one."""
    try:
        proof = ledger.prove_consistency(session, first, second)
    except LedgerError as error:
        raise ProblemError(NOT_FOUND, error.what) from error
    return ConsistencyOut(first=first, second=second, proof=[hash_.hex() for hash_ in proof])
