"""The box's key in a real TPM's firmware: swtpm, looked at from outside with tpm2-tools."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.adapters.key_store import KeyName, KeyStore, KeyStoreError
from device.adapters.tpm_key import TpmPlace
from protocol.envelope import Kind, open_sign1, sign1, verify_raw
from protocol.ids import thumbprint
from tests.builders.chips import Tpm, running_tpm

pytestmark = pytest.mark.real
HANDLE = 0x81000001
NAME = "0x81000001"


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Tpm]:
    with running_tpm(tmp_path) as chip:
        yield chip


def _place(tpm: Tpm, handle: int = HANDLE) -> TpmPlace:
    return TpmPlace(tcti=tpm.tcti, handle=handle)


def _made_with_tools(tpm: Tpm, attributes: str, *auth: str) -> None:
    common = ("-G", "ecc256:ecdsa-sha256:null", "-a", attributes, *auth)
    tpm.tool("tpm2_createprimary", "-C", "o", *common, "-c", "key.ctx")
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "key.ctx", NAME)


def test_a_key_made_in_the_chip_signs_batches_and_leaves_no_context(tpm: Tpm, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    signer = keys.make_signer(_place(tpm))
    for payload in (b"one", b"two", b"three", b"four"):
        message = sign1(Kind.BATCH, payload, signer)
        opened = open_sign1(message, Kind.BATCH, {signer.kid: signer.public_key}.get, max_bytes=500)
        assert opened.payload == payload
    assert tpm.transient() == ""
    tpm.run("tpm2_createprimary", "-C", "o", "-c", "key.ctx")
    assert "0x80000000" in tpm.transient(), "what nobody flushes is seen"
    assert KeyStore(tmp_path / "keys").signer(KeyName.D2).kid == signer.kid == thumbprint(signer.public_key)


def test_the_tools_see_the_same_key_and_that_it_cannot_leave(tpm: Tpm, tmp_path: Path) -> None:
    signer = KeyStore(tmp_path / "keys").make_signer(_place(tpm))
    seen = tpm.tool("tpm2_readpublic", "-c", NAME)
    x = signer.public_key.public_numbers().x.to_bytes(32, "big").hex()
    assert f"x: {x}" in seen
    assert "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign" in seen
    words = ("-C", "null", "-c", NAME, "-G", "null", "-r", "r", "-u", "u", "-s", "s")
    assert "Esys_Duplicate(0x" in tpm.tool("tpm2_duplicate", *words, fails=True)
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["d2.auth", "d2.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "keys").iterdir())


def test_another_home_on_the_same_chip_gets_another_key_and_not_ours(tpm: Tpm, tmp_path: Path) -> None:
    first = KeyStore(tmp_path / "one").make_signer(_place(tpm))
    with pytest.raises(KeyStoreError, match="the TPM refuses our password"):
        KeyStore(tmp_path / "two").make_signer(_place(tpm))
    second = KeyStore(tmp_path / "two").make_signer(_place(tpm, HANDLE + 1))
    assert first.kid != second.kid


def test_a_run_that_was_cut_off_before_its_record_finds_its_key_again(tpm: Tpm, tmp_path: Path) -> None:
    made = KeyStore(tmp_path / "keys").make_signer(_place(tpm))
    (tmp_path / "keys" / "d2.json").unlink()
    assert KeyStore(tmp_path / "keys").make_signer(_place(tpm)).kid == made.kid


def test_a_cleared_chip_says_that_the_key_is_gone(tpm: Tpm, tmp_path: Path) -> None:
    KeyStore(tmp_path / "keys").make_signer(_place(tpm))
    tpm.tool("tpm2_clear")
    with pytest.raises(KeyStoreError, match="there is no key 0x81000001 in the TPM") as lost:
        KeyStore(tmp_path / "keys").signer(KeyName.D2)
    assert "cleared or exchanged" in lost.value.diagnostics()


def test_a_locked_chip_silences_a_key_that_it_protects_with_one_sentence_and_not_the_box_own(
    tpm: Tpm, tmp_path: Path
) -> None:
    own = KeyStore(tmp_path / "own").make_signer(_place(tpm, HANDLE + 1))
    _made_with_tools(tpm, "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
    adopted = KeyStore(tmp_path / "adopted").make_signer(_place(tpm))
    tpm.tool("tpm2_dictionarylockout", "-s", "-n", "1", "-t", "3600", "-l", "3600")
    tpm.tool(
        "tpm2_createprimary",
        "-C",
        "o",
        "-G",
        "ecc256:ecdsa-sha256:null",
        "-p",
        "right",
        "-c",
        "other.ctx",
        "-a",
        "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign",
    )
    (tmp_path / "m").write_bytes(b"m")
    tpm.tool("tpm2_sign", "-c", "other.ctx", "-p", "wrong", "-g", "sha256", "-o", "s", "m", fails=True)
    with pytest.raises(KeyStoreError) as locked:
        adopted.sign(b"message")
    assert locked.value.what == "the TPM is locked after wrong passwords"
    assert "--clear-lockout" in locked.value.next_step
    assert locked.value.is_transient
    verify_raw(own.public_key, b"message", own.sign(b"message"))


def test_a_key_that_was_brought_in_from_outside_is_refused(tpm: Tpm, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "soft.pem"],
        cwd=tmp_path,
        check=True,
    )
    tpm.tool("tpm2_createprimary", "-C", "o", "-c", "parent.ctx")
    tpm.tool("tpm2_import", "-C", "parent.ctx", "-G", "ecc", "-i", "soft.pem", "-u", "k.pub", "-r", "k.priv")
    tpm.tool("tpm2_load", "-C", "parent.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx")
    tpm.tool("tpm2_evictcontrol", "-C", "o", "-c", "k.ctx", NAME)
    with pytest.raises(KeyStoreError, match="was not made in this TPM, or could leave it"):
        KeyStore(tmp_path / "keys").make_signer(_place(tpm))


def test_a_chip_that_is_away_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    with pytest.raises(KeyStoreError, match="the TPM is not reached") as away:
        keys.make_signer(TpmPlace(tcti="device:/dev/there-is-no-tpm"))
    assert "tss" in away.value.next_step
    assert not keys.exists(KeyName.D2)


def test_two_answers_to_where_the_key_is_are_refused(tpm: Tpm, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys")
    keys.make_signer(_place(tpm))
    with pytest.raises(KeyStoreError, match="D2 is in tpm, not in the file asked for"):
        keys.make_signer(None)
    KeyStore(tmp_path / "soft").create(KeyName.D2)
    (tmp_path / "keys" / "d2.key").write_bytes((tmp_path / "soft" / "d2.key").read_bytes())
    with pytest.raises(KeyStoreError, match="two keys"):
        KeyStore(tmp_path / "keys").signer(KeyName.D2)
    assert json.loads((tmp_path / "keys" / "d2.json").read_text())["handle"] == NAME
