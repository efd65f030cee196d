"""C1: verifying a batch's envelope, against the bare P-256 verify.

Compared: `open_sign1` (strict decode, key by kid, Sig_structure, verify, low-s) of a batch's signed header,
with `EllipticCurvePublicKey.verify` of the same signature over the same bytes, key parsed, DER signature and
Sig_structure built beforehand. The note says what the rest of reading a batch costs (header, sections).

Limit: OpenSSL's verify, which is the baseline.

Source of the goals: design goal C1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from benchmarks.batch_inputs import BatchInput, inputs
from benchmarks.bench import Bench
from benchmarks.harness import require_same, round_robin
from benchmarks.result import Row, at_most, spread_of
from benchmarks.signed_batches import Fleet
from protocol.batch import open_batch
from protocol.envelope import Kind, external_aad, open_sign1, sig_structure
from protocol.limits import HEADER_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Setting
    from benchmarks.result import Line
    from benchmarks.signed_batches import MadeBatch
    from protocol.envelope import SoftwareSigner

GOAL = at_most(1.25, "the bare verify's time")
SCALAR_BYTES = 32


def run(setting: Setting) -> Iterator[Line]:
    """Measure one header, as each of a chain is."""
    content = next(inputs(setting))
    assert isinstance(content, BatchInput), "the simulated drive is always there"
    fleet = Fleet.of(boxes=1, batches=2, content=content)
    signer, batch = fleet.signers[0], fleet.chains[0][1]
    bare = bare_verify(batch, signer)
    keys = {signer.kid: signer.public_key}.get
    opened = open_sign1(batch.sign1, Kind.BATCH, keys, max_bytes=HEADER_BYTES_MAX)
    require_same("the payload", opened.payload, open_batch(batch.payload, keys, device=None).sign1.payload)
    timings = round_robin(
        {
            "ours": lambda: open_sign1(batch.sign1, Kind.BATCH, keys, max_bytes=HEADER_BYTES_MAX),
            "bare": bare,
            "batch": lambda: open_batch(batch.payload, keys, device=None),
        },
        rounds=setting.rounds,
    )
    ours, theirs, whole = (timings[name] for name in ("ours", "bare", "batch"))
    yield Row(
        id="C1",
        case=f"header of {len(batch.sign1)} B",
        goal=GOAL,
        measured=f"{ours.median_s * 1e6:.1f} µs",
        baseline=f"{theirs.median_s * 1e6:.1f} µs",
        ratio=ours.median_s / theirs.median_s,
        spread=spread_of(ours, theirs),
        note=f"the whole batch of {len(batch.payload)} B, read and checked: {whole.median_s * 1e6:.0f} µs",
    )


def bare_verify(batch: MadeBatch, signer: SoftwareSigner) -> Callable[[], object]:
    """Return OpenSSL's verify of a batch's signature, everything else prepared."""
    opened = open_sign1(
        batch.sign1, Kind.BATCH, {signer.kid: signer.public_key}.get, max_bytes=HEADER_BYTES_MAX
    )
    signed = sig_structure("Signature1", opened.protected, external_aad(Kind.BATCH), opened.payload)
    r, s = (int.from_bytes(opened.signature[at : at + SCALAR_BYTES], "big") for at in (0, SCALAR_BYTES))
    signature, algorithm, key = encode_dss_signature(r, s), ECDSA(SHA256()), signer.public_key
    return lambda: key.verify(signature, signed, algorithm)


BENCH = Bench(ids=("C1",), title="verifying an envelope, against the bare verify", run=run)
