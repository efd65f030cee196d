"""Who may release firmware: three keys that are kept offline, any two of which must have signed (K-07).

Rules: the trust file holds the public keys, how many must sign, and which floors they may release. A release
counts as signed when that many *different* keys of the file signed its manifest and no signature lies there
that is foreign, damaged or under another's name: what cannot be explained is not flashed. Whoever holds the
published test keys of the vectors can release demo images and nothing else.

It keeps no private key (`release_keys`).

Example:
    >>> demo_trust().threshold, len(demo_trust().keys), demo_trust().floors.value
    (2, 3, 'demo')
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.image import Floors
from firmware_tools.release_manifest import Wrong
from firmware_tools.release_signature import verify_detached
from protocol.errors import ProtocolError, Reject
from protocol.ids import cose_key_bytes, public_key_from_cose, thumbprint
from protocol.limits import FIRMWARE_SIGNERS_MAX, SETTINGS_BYTES_MAX
from protocol.vectors.keys import NAMES, published_signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from firmware_tools.release import Release
    from protocol.envelope import SoftwareSigner

THRESHOLD: Final = 2
"""Officers that must sign: a stolen key alone releases nothing, a lost one stops nothing."""

DEMO_SIGNERS: Final = ("platform-root-1", "platform-root-2", "platform-root-3")
"""Published test keys that release the demo's firmware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who may release what.

    Attributes:
        floors: images of these floors, and no others.
        threshold: how many keys must have signed, at least 2.
        keys: by kid.
    """

    floors: Floors
    threshold: int
    keys: Mapping[bytes, EllipticCurvePublicKey]

    def encode(self) -> bytes:
        """Return the file's bytes."""
        keys = [cose_key_bytes(key).hex() for key in self.keys.values()]
        fields = {"floors": self.floors.value, "keys": keys, "threshold": self.threshold}
        return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode()


def trust_of(keys: Sequence[EllipticCurvePublicKey], floors: Floors, threshold: int = THRESHOLD) -> Trust:
    """Return the trust in some keys.

    Raises:
        ToolError: TRUST: too few or equal keys, a threshold below 2, a published test key for a real image.
    """
    found = {thumbprint(key): key for key in keys}
    if len(found) != len(keys) or not THRESHOLD <= threshold <= len(found) <= FIRMWARE_SIGNERS_MAX:
        raise _distrust(f"{len(found)} different keys and a threshold of {threshold} do not go together")
    published = {published_signer(name).kid for name in NAMES}
    if floors is not Floors.DEMO and published & found.keys():
        raise _distrust("a published test key is in it, and everybody can sign with that")
    return Trust(floors=floors, threshold=threshold, keys=found)


def demo_trust() -> Trust:
    """Return the trust in the published test keys: for demo images."""
    return trust_of([published_signer(name).public_key for name in DEMO_SIGNERS], Floors.DEMO)


def demo_signers() -> list[SoftwareSigner]:
    """Return those who release demo images."""
    return [published_signer(name) for name in DEMO_SIGNERS]


def read_trust(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        ToolError: NO_FILE or TRUST.
    """
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(SETTINGS_BYTES_MAX))
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name the trust file."
        ) from error
    except ValueError as error:
        raise _distrust("it is not JSON") from error
    return _read(fields)


def signers_of(release: Release, trust: Trust) -> list[bytes]:
    """Return the kids that signed a release.

    Raises:
        ToolError: SIGNATURE for one that is foreign, damaged or under another's name.
    """
    found = []
    for name, data in release.signatures.items():
        try:
            kid = verify_detached(data, release.manifest_bytes, trust.keys.get)
        except ProtocolError as error:
            what = "is by a key that is not trusted" if error.code is Reject.UNKNOWN_KEY else "is damaged"
            raise ToolError(
                Wrong.SIGNATURE, f"signatures/{name} {what}: take the release from where it was signed."
            ) from error
        if name != f"{kid.hex()}.sig":
            raise ToolError(
                Wrong.SIGNATURE, f"signatures/{name} is not by whom its name says: take the release again."
            )
        found.append(kid)
    return found


def require_signed(release: Release, trust: Trust) -> list[bytes]:
    """Return the kids that signed a release that may be flashed.

    Raises:
        ToolError: TRUST for other floors than the keys may release; SIGNATURE; SIGNERS for too few.
    """
    if release.manifest.floors is not trust.floors:
        raise ToolError(
            Wrong.TRUST,
            f"These keys release {trust.floors} images, and this is a {release.manifest.floors} image: "
            "name the other trust file.",
        )
    kids = signers_of(release, trust)
    if len(set(kids)) < trust.threshold:
        raise ToolError(
            Wrong.SIGNERS,
            f"Signed by {len(kids)} of the {trust.threshold} needed: have another officer run "
            "`tbox install firmware sign`.",
        )
    return kids


def _read(fields: Any) -> Trust:  # noqa: ANN401 - JSON, judged here
    try:
        if set(fields) != {"floors", "keys", "threshold"} or type(fields["threshold"]) is not int:
            raise ValueError("members")  # noqa: TRY301 - one place says what is wrong
        keys = [public_key_from_cose(bytes.fromhex(text)) for text in fields["keys"]]
        floors, threshold = Floors(fields["floors"]), fields["threshold"]
    except (ValueError, TypeError, ProtocolError) as error:
        raise _distrust(f"it cannot be read ({error})") from error
    return trust_of(keys, floors, threshold)


def _distrust(why: str) -> ToolError:
    return ToolError(Wrong.TRUST, f"The trust file cannot be used: {why}; make it with `firmware trust`.")
