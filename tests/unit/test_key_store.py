"""Private keys live in files that nobody else can read."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.adapters.durable_file import write_durably
from device.adapters.key_store import KeyName, KeyStore, KeyStoreError
from protocol.envelope import Kind, open_sign1, sign1


def test_a_created_key_signs_what_its_public_half_verifies(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    keys.create(KeyName.D2)
    signer = keys.signer(KeyName.D2)
    message = sign1(Kind.TIME_REQUEST, b"when", signer)
    keyring = {signer.kid: signer.public_key}
    opened = open_sign1(message, Kind.TIME_REQUEST, keyring.get, max_bytes=1_000)
    assert opened.payload == b"when"


def test_a_new_key_file_and_its_folder_are_closed_to_others(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    keys.create(KeyName.TLS)
    assert keys.path(KeyName.TLS).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o644, 0o601])
def test_a_key_open_to_others_is_refused_and_says_why(tmp_path: Path, mode: int) -> None:
    keys = KeyStore(tmp_path)
    keys.create(KeyName.D2)
    keys.path(KeyName.D2).chmod(mode)
    with pytest.raises(KeyStoreError) as refused:
        keys.load(KeyName.D2)
    assert not refused.value.is_transient
    assert "open to others" in refused.value.diagnostics()
    assert "Next step:" in refused.value.diagnostics()


def test_a_second_create_keeps_the_first_key(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    first = keys.create(KeyName.D2).public_key()
    with pytest.raises(KeyStoreError, match="key exists"):
        keys.create(KeyName.D2)
    assert keys.load(KeyName.D2).public_key() == first


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError) as missing:
        KeyStore(tmp_path).load(KeyName.D2)
    assert "tbox agent enrol" in missing.value.diagnostics()


def test_a_torn_key_file_is_refused(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create(KeyName.D2)
    path = keys.path(KeyName.D2)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(KeyStoreError, match="not readable"):
        keys.load(KeyName.D2)


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    foreign = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_durably(tmp_path / "d2.key", foreign, mode=0o600)
    with pytest.raises(KeyStoreError, match="not a P-256 key"):
        KeyStore(tmp_path).load(KeyName.D2)


def test_a_key_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "real")
    keys.create(KeyName.D2)
    (tmp_path / "d2.key").symlink_to(keys.path(KeyName.D2))
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path).load(KeyName.D2)


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    write_durably(path, b"old")
    path.with_name(f".trust.json.{os.getpid()}.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_left_over_of_a_power_cut_does_not_open_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    left_over = path.with_name(f".secret.{os.getpid()}.new")
    left_over.write_bytes(b"half")
    left_over.chmod(0o666)
    write_durably(path, b"whole", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"whole"
