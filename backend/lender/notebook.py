"""What this machine remembers between two commands: what cars have proved, what was signed and not yet sent.

Rules: one folder of mode 0700, small JSON files replaced whole. Nothing in it is secret and nothing is
believed that was not verified when it was written: the newest challenge and disposition of each car, the
snapshots of the roots, the counters used, and each part signed, so that signing again gives the same part
even with a token whose signatures differ each time, and a request cut off half-way is sent again as it was.

Example:
    >>> notebook = Notebook(settings.state)
    >>> notebook.car(device)
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from backend.lender.errors import LenderError
from backend.lender.files import read_json, to_json, write_over
from backend.lender.plain import to_bytes
from protocol.base64url import to_text
from protocol.ids import parse_device_id

_SEEN: Final = "tbox_seen_car"
_OUTBOX: Final = "tbox_outbox"
_PARTS: Final = "tbox_signed_parts"
_AUTHORITY: Final = "tbox_authority"
_LOG: Final = "tbox_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCar:
    """What a car has proved to this machine.

    Attributes:
        epoch: hex, of the newest signed word of the car; None before any.
        head_b: counter of releasing orders, of its newest challenge.
        used_b: highest counter this machine has signed in a releasing order.
        sequence: number of its newest disposition.
        digest: hex, SHA-256 of that disposition.
    """

    epoch: str | None = None
    head_b: int = 0
    used_b: int = 0
    sequence: int = 0
    digest: str | None = None


class Notebook:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def car(self, device: str) -> SeenCar:
        """Return what is known of a car."""
        content = self._read(f"car-{parse_device_id(device)}.json", _SEEN)
        names = SeenCar.__dataclass_fields__
        return SeenCar(**{name: content[name] for name in names if name in content})

    def note_car(self, device: str, **changes: Any) -> None:  # noqa: ANN401  # the fields of `SeenCar`
        """Remember something a car has proved, or a counter that was used."""
        seen = replace(self.car(device), **changes)
        self._write(f"car-{parse_device_id(device)}.json", {_SEEN: 1} | asdict(seen))

    def part(self, name: str) -> tuple[bytes, bytes] | None:
        """Return the part signed under a name before, or None."""
        found = self._read("parts.json", _PARTS).get("parts", {}).get(name)
        return None if found is None else (bytes.fromhex(found[0]), bytes.fromhex(found[1]))

    def note_part(self, name: str, part: tuple[bytes, bytes]) -> None:
        """Remember a part, before it is sent; the newest thousand are kept."""
        parts = self._read("parts.json", _PARTS).get("parts", {})
        parts[name] = [part[0].hex(), part[1].hex()]
        kept = dict(list(parts.items())[-1_000:])
        self._write("parts.json", {_PARTS: 1, "parts": kept})

    def put_out(self, cmd_id: str, body: dict[str, Any]) -> None:
        """Remember a signed order before it is sent."""
        self._write(f"outbox-{cmd_id}.json", {_OUTBOX: 1, "body": body})

    def outbox(self) -> dict[str, dict[str, Any]]:
        """Return orders that were signed and of which no answer came, by cmd_id."""
        found = {}
        for path in sorted(self.folder.glob("outbox-*.json")):
            found[path.stem.removeprefix("outbox-")] = read_json(path, _OUTBOX)["body"]
        return found

    def sent(self, cmd_id: str) -> None:
        """Forget an order that has arrived."""
        (self.folder / f"outbox-{cmd_id}.json").unlink(missing_ok=True)

    def authority(self, issuer: str) -> tuple[list[bytes], list[bytes]]:
        """Return the verified snapshots, oldest first, and revocations of an issuer."""
        content = self._read(_authority_name(issuer), _AUTHORITY)
        return (
            [to_bytes(text, "snapshot") for text in content.get("snapshots", [])],
            [to_bytes(text, "revocation") for text in content.get("revocations", [])],
        )

    def note_authority(self, issuer: str, snapshots: list[bytes], revocations: list[bytes]) -> None:
        """Remember an issuer's verified documents: an older snapshot is never believed again."""
        content: dict[str, Any] = {_AUTHORITY: 1}
        content["snapshots"] = [to_text(one) for one in snapshots]
        content["revocations"] = [to_text(one) for one in revocations]
        self._write(_authority_name(issuer), content)

    def log(self, origin: str) -> tuple[int, bytes] | None:
        """Return size and root of the newest checkpoint of a log that was verified here; None before any."""
        found = self._read("log.json", _LOG).get("heads", {}).get(origin)
        return None if found is None else (int(found[0]), bytes.fromhex(found[1]))

    def note_log(self, origin: str, size: int, root: bytes) -> None:
        """Remember a log's newest checkpoint: a shorter or another one is never believed again."""
        heads = self._read("log.json", _LOG).get("heads", {})
        self._write("log.json", {_LOG: 1, "heads": heads | {origin: [size, root.hex()]}})

    def _read(self, name: str, mark: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            return read_json(path, mark)
        except (LenderError, json.JSONDecodeError) as broken:
            raise LenderError(
                f"{path} is damaged", next_step=f"look at it, then remove it: rm {path}"
            ) from broken

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_over(self.folder / name, to_json(content))


def _authority_name(issuer: str) -> str:
    return f"authority-{issuer.replace(':', '-')}.json"
