"""Setting up a home: repeatable, resumable, closed to others; and replacing its signing keys."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backend.errors import RefusedError, SecretError
from backend.settings import Settings, load_settings
from backend.store.api_keys import list_api_keys
from backend.store.key_files import load_private_key, make_private_key, replace_public, write_new
from backend.store.service_keys import ServiceKey, list_service_keys
from backend.usecases.register_service_keys import ServicePurpose
from backend.usecases.service_identity import load_identity, load_receipt_signer
from backend.usecases.set_up_home import HomeSetUp, set_up_home
from backend.usecases.succeed_service_key import succeed_service_key
from protocol.envelope import SoftwareSigner
from protocol.ids import public_key_from_cose
from protocol.key_succession import KeyRole, open_key_succession
from protocol.vectors.keys import published_scalar
from tests.builders.backend import TODAY_US, Backend, make_backend

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


def set_up(settings: Settings) -> HomeSetUp:
    return set_up_home(settings, organisation="Example Leasing", now_us=TODAY_US)


def content(home: Path) -> dict[str, bytes]:
    """Return every key and certificate of a home."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith("tbox.sqlite")
    }


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Put another key in the place of one."""
    path.unlink()
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)


# --- set up ---


def test_a_second_set_up_changes_nothing_and_shows_no_key(settings: Settings) -> None:
    first = set_up(settings)
    before = content(settings.home)
    second = set_up(settings)
    assert first.admin_key is not None
    assert (second.made, second.migrated, second.admin_key) == ((), False, None)
    assert content(settings.home) == before


@pytest.mark.parametrize(
    "missing", ["ca/ca.pem", "keys/policy.key", "keys/nonce.key", "tls/bridge.pem", "tls/bridge.key"]
)
def test_a_set_up_that_was_interrupted_makes_what_is_missing_and_keeps_the_rest(
    settings: Settings, missing: str
) -> None:
    set_up(settings)
    before = content(settings.home)
    (settings.home / missing).unlink()
    if missing == "tls/bridge.key":
        (settings.home / "tls/bridge.pem").unlink()
    assert settings.home / missing in set_up(settings).made
    after = content(settings.home)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {missing, "tls/bridge.pem"}


def test_a_set_up_that_stopped_before_the_administrators_key_makes_it_now(settings: Settings) -> None:
    set_up(settings)
    (settings.home / "tbox.sqlite").unlink()
    assert set_up(settings).admin_key is not None


def test_secrets_are_readable_by_their_owner_only(settings: Settings) -> None:
    set_up(settings)
    for path in settings.home.rglob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


def test_no_secret_is_kept_in_the_clear(settings: Settings) -> None:
    key = set_up(settings).admin_key
    assert key is not None
    secret = key.text.rsplit("_", 1)[1].encode()
    assert all(secret not in path.read_bytes() for path in settings.home.rglob("*") if path.is_file())


def test_an_empty_name_makes_no_organisation(settings: Settings) -> None:
    with pytest.raises(RefusedError):
        set_up_home(settings, organisation="  ", now_us=TODAY_US)


# --- keys that are refused ---


@pytest.mark.parametrize("name", ["receipt_key_path", "policy_key_path", "ca_key_path"])
def test_a_published_key_does_not_start_a_server(backend: Backend, name: str) -> None:
    published = ec.derive_private_key(published_scalar("receipt-1"), ec.SECP256R1())
    write_key(getattr(backend.settings, name), published)
    with pytest.raises(SecretError, match="published"):
        load_identity(backend.settings)


def test_a_demonstration_may_use_a_published_key(backend: Backend) -> None:
    write_key(backend.settings.receipt_key_path, ec.derive_private_key(7, ec.SECP256R1()))
    demo = load_settings(home=backend.settings.home, demo=True)
    assert load_receipt_signer(demo).public_key is not None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_closes_it(
    backend: Backend, mode: int
) -> None:
    path = backend.settings.receipt_key_path
    path.chmod(mode)
    with pytest.raises(SecretError) as refused:
        load_identity(backend.settings)
    assert f"chmod 600 {path}" in refused.value.diagnostics()


def test_a_missing_key_is_named(backend: Backend) -> None:
    backend.settings.policy_key_path.unlink()
    with pytest.raises(SecretError, match=r"policy\.key"):
        load_identity(backend.settings)


def test_a_key_of_another_kind_is_refused(backend: Backend) -> None:
    write_key(backend.settings.receipt_key_path, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(SecretError, match="P-256"):
        load_identity(backend.settings)


def test_what_is_no_key_is_refused(backend: Backend) -> None:
    backend.settings.receipt_key_path.write_bytes(b"not a key")
    with pytest.raises(SecretError, match="not an unencrypted private key"):
        load_identity(backend.settings)


def test_a_ca_key_that_is_not_the_certificates_is_refused(backend: Backend) -> None:
    write_key(backend.settings.ca_key_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(SecretError, match="is not the key of"):
        load_identity(backend.settings)


# --- files ---


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    key = make_private_key(tmp_path / "a.key")
    with pytest.raises(SecretError):
        make_private_key(tmp_path / "a.key")
    assert load_private_key(tmp_path / "a.key").private_numbers() == key.private_numbers()
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]


def test_a_public_file_is_replaced_whole(tmp_path: Path) -> None:
    replace_public(tmp_path / "list.pem", b"old")
    replace_public(tmp_path / "list.pem", b"new")
    assert (tmp_path / "list.pem").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["list.pem"]


# --- succession ---


def receipt_keys(backend: Backend) -> list[ServiceKey]:
    with backend.database() as database, database.reading() as session:
        return list(list_service_keys(session, purpose=ServicePurpose.RECEIPT))


def succeed(backend: Backend, signer: SoftwareSigner) -> SoftwareSigner:
    with backend.database() as database, database.writing() as session:
        return succeed_service_key(
            session,
            path=backend.settings.receipt_key_path,
            signer=signer,
            purpose=ServicePurpose.RECEIPT,
            org_id=backend.org_id,
            now_us=TODAY_US + 5,
        )


def test_the_old_key_signs_its_successor_and_the_new_one_is_in_place(backend: Backend) -> None:
    old = load_receipt_signer(backend.settings)
    new = succeed(backend, old)
    assert load_receipt_signer(backend.settings).kid == new.kid != old.kid
    first, second = receipt_keys(backend)
    assert (first.retired_us, second.retired_us) == (None, TODAY_US + 5)
    assert first.succession is not None
    link = open_key_succession(first.succession, {old.kid: old.public_key}.get, role=KeyRole.RECEIPT)
    assert public_key_from_cose(link.successor) == new.public_key


def test_a_succession_interrupted_before_the_commit_uses_the_key_that_waits(backend: Backend) -> None:
    old = load_receipt_signer(backend.settings)
    path = backend.settings.receipt_key_path
    waiting = SoftwareSigner(make_private_key(path.with_name("receipt.key.next")))
    assert succeed(backend, old).kid == waiting.kid


def test_a_succession_interrupted_after_the_commit_is_finished_by_the_next_run(backend: Backend) -> None:
    old = load_receipt_signer(backend.settings)
    path = backend.settings.receipt_key_path
    old_file = path.read_bytes()
    new = succeed(backend, old)
    path.rename(path.with_name("receipt.key.next"))  # as if the power had gone before the last step
    write_new(path, old_file, mode=0o600)
    assert succeed(backend, load_receipt_signer(backend.settings)).kid == new.kid
    assert len(receipt_keys(backend)) == 2


def test_the_administrators_key_is_the_only_one_after_a_set_up(backend: Backend) -> None:
    with backend.database() as database, database.reading() as session:
        rows = list_api_keys(session, org_id=backend.org_id, after=None, limit=10)
    assert [row.role for row in rows] == ["org-admin"]
