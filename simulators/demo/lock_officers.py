"""The people of the lock story, each with a folder, a key, a passphrase and settings of their own.

Rules: every ceremony and every signature is a run of `tbox lender`, as these people would type it; nothing of
that tool is called inside. Root officers never see a network: their commands take files only. A folder stands
for a machine: nobody's command reads another's key.

Example:
    officers = Officers(home / "officers")
    officers.hold_ceremonies(gate_public=..., pack="ZZ:1:…", zones="1:…")
    officers.run("maker", "request", "lock", device, "--basis", "case.basis", "--yes")
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from simulators.processes import run, run_tool, tbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulators.processes import ToolRun

Item = TypeVar("Item")

LENDER_ID: Final = "00112233aabbccdd"
LENDER: Final = f"lender:{LENDER_ID}"
PLATFORM: Final = "platform"
LENDER_ROOT: Final = ("lender-root-1", "lender-root-2")
PLATFORM_ROOT: Final = ("platform-root-1", "platform-root-2")
ROLES: Final = {
    "maker": ("maker", LENDER),
    "checker": ("checker", LENDER),
    "safety": ("safety-officer", PLATFORM),
}
MACHINES: Final = {"gate": ("gate", PLATFORM), "fitter": ("installer", PLATFORM)}
"""Whose keys are made elsewhere: they only hand over the public half."""
AT_ONCE: Final = 3  # commands beside each other: more only wait for the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Officers:
    """Everyone's folders below one.

    Attributes:
        folder: holds a folder a person, and what the ceremonies came to.
        is_patient: ceremonies give way to whatever else runs on this machine.
    """

    folder: Path
    is_patient: bool = False

    def of(self, name: str) -> Path:
        """Return a person's folder."""
        return self.folder / name

    def run(self, name: str, *words: str) -> dict[str, Any]:
        """Run a command of `tbox lender` as one person, and return what it printed as JSON.

        Raises:
            ToolFailedError: it ended with an error.
        """
        answer: dict[str, Any] = json.loads(run_tool(self._command(name, words)))
        return answer

    def try_to(self, name: str, *words: str) -> ToolRun:
        """Run a command that may well refuse."""
        return run(self._command(name, words))

    def sign_as(self, name: str, *words: str) -> dict[str, Any]:
        """Run a command that signs with a person's own key."""
        return self.run(name, *words, *self._secret(name), "--yes")

    def _command(self, name: str, words: Sequence[str]) -> list[str]:
        config = self.of(name) / "lender.toml"
        gives_way = ("nice", "-n", "15") if self.is_patient and words[0] not in _CONFIGURED else ()
        more = ("--config", str(config)) if config.exists() and words[0] in _CONFIGURED else ()
        return [*gives_way, *tbox("lender", *words, *more, "--json")]

    def _secret(self, name: str) -> tuple[str, ...]:
        return ("--passphrase-file", str(self.of(name) / "pass"))

    # --- keys and ceremonies ---

    def make_keys(self) -> None:
        """Make everyone's key, each in an encrypted file of their own."""
        beside(self._make_key, (*LENDER_ROOT, *PLATFORM_ROOT, *ROLES))

    def _make_key(self, name: str) -> None:
        folder = self.of(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = folder / "pass"
        secret.touch(mode=0o600)
        secret.write_text(f"the words of {name}", "utf-8")
        key = folder / f"{name}.key"
        if not key.exists():
            self.run(name, "key", "new", str(key), *self._secret(name))
            self.run(name, "key", "show", str(key), "--out", str(self.public(name)))

    def public(self, name: str) -> Path:
        """Return a person's public key, as they hand it over."""
        return self.folder / f"{name}.pub"

    def root(self, issuer: str) -> Path:
        """Return the pinned root file of an issuer."""
        return self.folder / ("platform-root.json" if issuer == PLATFORM else "lender-root.json")

    def delegation(self, name: str) -> Path:
        """Return a person's delegation."""
        return self.folder / f"{name}.delegation"

    def snapshot(self, issuer: str) -> Path:
        """Return the snapshot of an issuer."""
        return self.folder / f"{issuer.partition(':')[0]}.snapshot"

    def make_roots(self) -> None:
        """Agree on both roots: two people each."""

        def make(issuer: str) -> None:
            named = [
                word for name in _root_officers(issuer) for word in ("--officer", str(self.public(name)))
            ]
            words = ("--issuer", issuer, *named, "--threshold", "2", "--out", str(self.root(issuer)))
            self.run(_root_officers(issuer)[0], "root", "new", *words)

        beside(make, (LENDER, PLATFORM))

    def delegate(self, name: str, role: str, issuer: str) -> None:
        """Let the root's officers delegate a role to a person's key, each on their own machine."""
        draft = self.folder / f"{name}.draft"
        words = ("--issuer", issuer, "--role", role, "--person", f"P-{name}")
        key = ("--public", str(self.public(name)), "--days", "30", "--out", str(draft))
        self.run(_root_officers(issuer)[0], "delegation", "draft", *words, *key)
        parts = [self._sign("delegation", draft, officer) for officer in _root_officers(issuer)]
        more = ("--root", str(self.root(issuer)), "--out", str(self.delegation(name)))
        self.run(_root_officers(issuer)[0], "delegation", "assemble", str(draft), *parts, *more)

    def publish_snapshot(self, issuer: str, *more: str) -> None:
        """Let a root's officers sign what cars are told of it."""
        draft = self.folder / f"{self.snapshot(issuer).stem}.snapshot.draft"
        words = ("--root", str(self.root(issuer)), "--number", "1", "--days", "90", "--out", str(draft))
        self.run(_root_officers(issuer)[0], "root", "snapshot", *words, *more)
        parts = [self._sign("root", draft, officer) for officer in _root_officers(issuer)]
        more = ("--root", str(self.root(issuer)), "--out", str(self.snapshot(issuer)))
        self.run(_root_officers(issuer)[0], "root", "assemble", str(draft), *parts, *more)

    def hold_ceremonies(self, *, pack: str, zones: str) -> None:
        """Delegate to everyone, the gate included, and publish both snapshots.

        Args:
            pack: jurisdiction, version and calendar's hash, as `root snapshot --pack` takes it.
            zones: version and hash of the zone set, as `--zones` takes it.
        """
        self.make_roots()
        everyone = {**ROLES, **MACHINES}
        works: list[Callable[[], None]] = [
            lambda: self.publish_snapshot(LENDER),
            lambda: self.publish_snapshot(PLATFORM, "--pack", pack, "--zones", zones),
        ]
        works += [partial(self.delegate, name, *what) for name, what in everyone.items()]
        beside(lambda work: work(), works)

    def _sign(self, group: str, draft: Path, officer: str) -> str:
        part = draft.with_suffix(f".{officer}.part")
        key = str(self.of(officer) / f"{officer}.key")
        self.sign_as(officer, group, "sign", str(draft), "--key", key, "--out", str(part))
        return str(part)

    # --- settings ---

    def configure(
        self, *, server: str, api_keys: Mapping[str, str], loan_key: Path, gate: str, gate_token: Path
    ) -> None:
        """Write everyone's settings.

        Args:
            server: the API's address.
            api_keys: of maker, checker and safety officer.
            loan_key: public key of the lender's loan system.
            gate: the gate's address.
            gate_token: file with its token.
        """
        for name, key in api_keys.items():
            folder = self.of(name)
            secret = folder / "api.key"
            secret.touch(mode=0o600)
            secret.write_text(key, "ascii")
            settings = (
                f'server = "{server}"\napi_key_file = "api.key"\n'
                f'lender_root = "{self.root(LENDER)}"\nplatform_root = "{self.root(PLATFORM)}"\n'
                f'loan_key = "{loan_key}"\nkey = "{name}.key"\n'
                f'delegations = ["{self.delegation(name)}"]\nstate = "state"\n'
                f'gate = "{gate}"\ngate_token_file = "{gate_token}"\n'
            )
            (folder / "lender.toml").write_text(settings, "utf-8")


_CONFIGURED: Final = frozenset(
    {"request", "approve", "show", "list", "status", "unlock", "cancel", "freeze", "car", "authority"}
)


def beside(work: Callable[[Item], object], items: Sequence[Item]) -> None:
    """Do the work for all items, some beside each other; the first failure is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(work, items))


def _root_officers(issuer: str) -> tuple[str, ...]:
    return PLATFORM_ROOT if issuer == PLATFORM else LENDER_ROOT
