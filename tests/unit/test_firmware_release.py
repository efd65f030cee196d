"""What is no release: torn, foreign, with tricks in its paths, signed by too few or by others."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from typer.testing import CliRunner

from firmware_tools import boards, release, release_keys, release_trust
from firmware_tools.boards import uf2
from firmware_tools.cli import app
from firmware_tools.cli_errors import Common, Exit, ToolError
from firmware_tools.flash_plan import Facts, Refusal, require_fit
from firmware_tools.image import Floors
from firmware_tools.release import Release
from firmware_tools.release_manifest import Wrong, is_path, read_manifest
from firmware_tools.release_signature import sign_detached, verify_detached
from protocol.envelope import Kind, SoftwareSigner, sign1
from protocol.errors import ProtocolError
from protocol.limits import FIRMWARE_MANIFEST_BYTES_MAX
from protocol.vectors.keys import published_lookup, published_signer
from tests.builders.firmware import job, signed, small_release

TRUST = release_trust.demo_trust()
SIGNERS = release_trust.demo_signers()


@pytest.fixture
def made(tmp_path: Path) -> Release:
    return small_release(tmp_path / "release", number=3, floor=2)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(ToolError) as raised:
        act()
    assert raised.value.sentence.endswith(".")
    return str(raised.value.code)


def changed(made: Release, change: Callable[[dict[str, Any]], object]) -> bytes:
    fields = json.loads(made.manifest_bytes)
    change(fields)
    return (json.dumps(fields, sort_keys=True, indent=1) + "\n").encode()


def test_a_release_is_read_as_it_was_built_and_two_of_three_are_enough(made: Release) -> None:
    assert release.read(made.folder) == made
    assert release_trust.require_signed(made, TRUST) == sorted(signer.kid for signer in SIGNERS[:2])
    assert (made.manifest.release, made.manifest.floor, made.manifest.floors) == (3, 2, Floors.DEMO)


def test_the_same_sources_give_the_same_manifest(made: Release, tmp_path: Path) -> None:
    again = small_release(tmp_path / "again", number=3, floor=2)
    assert again.manifest_bytes == made.manifest_bytes


@pytest.mark.parametrize(
    "path",
    [
        *("../boot.py", "/main.py", "boot.py", "boot.json", "hold", "key", "a/main.py", "device/../main.py"),
        *(
            "device/mcu/Main.mpy",
            "device/mcu/main.py",
            "device//mcu/x.mpy",
            "device/mcu/x.mpy/",
            "protocol/.mpy",
        ),
        *(
            "device/mcu/x.mpy\n",
            "device\\mcu\\x.mpy",
            "device/mcu/\u00e4.mpy",
            "lib/x.mpy",
            "device/a/b/c/d.mpy",
        ),
    ],
)
def test_a_path_that_is_not_ours_is_no_part_of_a_release(made: Release, path: str) -> None:
    assert not is_path(path)
    data = changed(made, lambda fields: fields["files"][0].update(path=path))
    assert code_of(lambda: read_manifest(data)) == Wrong.MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(release=0),
        lambda fields: fields.update(release=True),
        lambda fields: fields.update(release=3.0),
        lambda fields: fields.update(release=2**31),
        lambda fields: fields.update(floor=4),
        lambda fields: fields.update(floors="none"),
        lambda fields: fields.update(ver=2),
        lambda fields: fields.update(version="a b"),
        lambda fields: fields.update(board="../x"),
        lambda fields: fields.update(measurement="0" * 64),
        lambda fields: fields.update(extra=1),
        lambda fields: fields.pop("mpy"),
        lambda fields: fields["files"].reverse(),
        lambda fields: fields["files"].append(fields["files"][-1]),
        lambda fields: fields["files"].pop(),
        lambda fields: fields["files"][0].update(mode=7),
        lambda fields: fields["files"][0].update(bytes=2**20),
        lambda fields: fields.update(files=[]),
        lambda fields: fields.update(files=fields["files"] * 60),
    ],
)
def test_a_manifest_that_differs_in_one_member_is_refused(
    made: Release, change: Callable[[dict[str, Any]], object]
) -> None:
    assert code_of(lambda: read_manifest(changed(made, change))) == Wrong.MANIFEST


def test_a_torn_manifest_is_refused_wherever_it_is_torn(made: Release) -> None:
    data = made.manifest_bytes
    for length in range(0, len(data), 13):
        assert code_of(lambda length=length: read_manifest(data[:length])) == Wrong.MANIFEST


def test_a_manifest_written_in_another_way_is_refused(made: Release) -> None:
    fields = json.loads(made.manifest_bytes)
    doubled = made.manifest_bytes.replace(b'"ver": 1', b'"ver": 1,\n "ver": 1')
    for data in (
        json.dumps(fields, sort_keys=True).encode(),
        json.dumps(fields, indent=1).encode() + b"\n\n",
        made.manifest_bytes + b" ",
        doubled,
        b"[" * 10_000,
        b" " * (FIRMWARE_MANIFEST_BYTES_MAX + 1),
        b"null",
        b"\xff",
    ):
        assert code_of(lambda data=data: read_manifest(data)) == Wrong.MANIFEST


def test_a_release_with_a_wrong_missing_or_foreign_file_is_refused(made: Release) -> None:
    path = made.folder / "protocol" / "word.mpy"
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    assert code_of(lambda: release.read(made.folder)) == Wrong.FILES
    path.unlink()
    assert code_of(lambda: release.read(made.folder)) == Wrong.FILES
    path.symlink_to("/etc/hostname")
    assert code_of(lambda: release.read(made.folder)) == Wrong.FILES
    path.unlink()
    path.write_bytes(right)
    for extra in ("boot.py", "signatures/x/y.sig", "signatures/readme", "device/mcu/more.mpy"):
        (made.folder / extra).parent.mkdir(exist_ok=True)
        (made.folder / extra).write_bytes(b"x")
        assert code_of(lambda: release.read(made.folder)) == Wrong.FILES
        (made.folder / extra).unlink()
    (made.folder / "signatures" / "x").rmdir()
    os.mkfifo(made.folder / "pipe")
    assert code_of(lambda: release.read(made.folder)) == Wrong.FILES
    (made.folder / "pipe").unlink()
    assert release.read(made.folder) == made


def test_too_few_signers_foreign_ones_and_one_signer_twice_are_refused(made: Release) -> None:
    place = made.folder / release.SIGNATURES
    first, second = (f"{signer.kid.hex()}.sig" for signer in SIGNERS[:2])
    data = (place / first).read_bytes()
    (place / second).unlink()
    assert code_of(lambda: release_trust.require_signed(release.read(made.folder), TRUST)) == Wrong.SIGNERS
    (place / second).write_bytes(data)
    assert code_of(lambda: release_trust.require_signed(release.read(made.folder), TRUST)) == Wrong.SIGNATURE
    (place / second).unlink()
    twice = signed(made, [SIGNERS[0]])
    assert code_of(lambda: release_trust.require_signed(twice, TRUST)) == Wrong.SIGNERS
    foreign = signed(made, [SIGNERS[1], published_signer("stranger")])
    assert code_of(lambda: release_trust.require_signed(foreign, TRUST)) == Wrong.SIGNATURE


def test_a_signature_of_another_manifest_kind_or_form_is_none(made: Release) -> None:
    signer, keys = SIGNERS[0], TRUST.keys.get
    good = sign_detached(made.manifest_bytes, signer)
    assert verify_detached(good, made.manifest_bytes, keys) == signer.kid
    attached = sign1(Kind.FIRMWARE, made.manifest_bytes, signer)
    for data in (attached, good[:-1], good + b"\0", good[1:], b"", b"\xd2\x84"):
        with pytest.raises(ProtocolError):
            verify_detached(data, made.manifest_bytes, keys)
    for at in range(len(good)):
        with pytest.raises(ProtocolError):
            verify_detached(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], made.manifest_bytes, keys)
    with pytest.raises(ProtocolError):
        verify_detached(good, made.manifest_bytes + b" ", keys)
    with pytest.raises(ProtocolError):
        verify_detached(good, made.manifest_bytes, published_lookup("stranger"))


def test_keys_release_only_the_floors_that_they_are_for(made: Release) -> None:
    keys = [SoftwareSigner(generate_private_key(SECP256R1())).public_key for _ in range(3)]
    real = release_trust.trust_of(keys, Floors.PRODUCTION)
    assert code_of(lambda: release_trust.require_signed(made, real)) == Wrong.TRUST
    published = [signer.public_key for signer in SIGNERS]
    for wrong in (
        lambda: release_trust.trust_of(published, Floors.PRODUCTION),
        lambda: release_trust.trust_of(keys[:1], Floors.PRODUCTION),
        lambda: release_trust.trust_of([keys[0], keys[0]], Floors.PRODUCTION),
        lambda: release_trust.trust_of(keys, Floors.PRODUCTION, 1),
        lambda: release_trust.trust_of(keys, Floors.PRODUCTION, 4),
    ):
        assert code_of(wrong) == Wrong.TRUST


def test_a_trust_file_is_read_as_written_and_no_other_form(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(TRUST.encode())
    assert release_trust.read_trust(path).encode() == TRUST.encode()
    for text in ("", "[]", "{}", TRUST.encode().decode().replace("2", "true", 1), '{"keys": ["00"]}'):
        path.write_text(text)
        assert code_of(lambda: release_trust.read_trust(path)) == Wrong.TRUST
    path.unlink()
    assert code_of(lambda: release_trust.read_trust(path)) == Common.NO_FILE


def test_an_officers_key_needs_its_passphrase_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "officer.pem"
    signer = release_keys.make_key(path, b"correct horse battery")
    assert path.stat().st_mode & 0o777 == 0o600
    assert release_keys.load_key(path, b"correct horse battery").kid == signer.kid
    assert release_keys.read_public(path.with_suffix(".pub")) == signer.public_key
    assert code_of(lambda: release_keys.load_key(path, b"wrong")) == Common.UNREADABLE
    assert code_of(lambda: release_keys.make_key(path, b"correct horse battery")) == Common.UNREADABLE
    assert code_of(lambda: release_keys.make_key(tmp_path / "x.pem", b"short")) == Common.UNREADABLE
    assert not (tmp_path / "x.pem").exists()


def test_two_officers_sign_at_the_command_line_and_one_is_not_enough(tmp_path: Path, made: Release) -> None:
    runner, secret = CliRunner(), tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    words = ["--passphrase-file", str(secret)]
    for name in "abc":
        done = runner.invoke(app, ["firmware", "key", "--out", str(tmp_path / f"{name}.pem"), *words])
        assert done.exit_code == Exit.DONE, done.output
    trust = str(tmp_path / "trust.json")
    keys = [word for name in "abc" for word in ("--key", str(tmp_path / f"{name}.pub"))]
    done = runner.invoke(app, ["firmware", "trust", "--out", trust, "--floors", "demo", *keys])
    assert done.exit_code == Exit.DONE, done.output
    for path in (made.folder / release.SIGNATURES).iterdir():
        path.unlink()
    show = ["firmware", "show", "--release", str(made.folder), "--trust", trust, "--json"]
    for name, exit_ in (("a", Exit.REFUSED), ("a", Exit.REFUSED), ("c", Exit.DONE)):
        pem = str(tmp_path / f"{name}.pem")
        sign = ["firmware", "sign", "--release", str(made.folder), "--key", pem, "--yes", *words]
        assert runner.invoke(app, sign).exit_code == Exit.DONE
        done = runner.invoke(app, show)
        assert done.exit_code == exit_, done.output
    assert len(json.loads(done.stdout)["trusted"]) == 2
    flash = ["flash", "--release", str(made.folder), "--demo", "--port", "/dev/null", "--json"]
    done = runner.invoke(app, flash)
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (Exit.REFUSED, "SIGNATURE")


def test_a_build_does_not_replace_a_folder_that_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("letters")
    assert code_of(lambda: small_release(tmp_path, number=1)) == Wrong.FILES
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"machine": "Raspberry Pi Pico W with RP2040 (rp2)"}, None),
        ({"machine": "Generic STM32 (pyboard)"}, Refusal.WRONG_BOARD),
        ({"version": (1, 27)}, Refusal.MICROPYTHON),
        ({"version": (2, 0)}, None),
        ({"mpy": 5}, Refusal.MICROPYTHON),
    ],
)
def test_a_board_is_judged_by_its_machine_and_its_micropython(
    tmp_path: Path, change: dict[str, Any], code: Refusal | None
) -> None:
    facts = Facts(
        machine="Raspberry Pi Pico with RP2040 (rp2)",
        version=(1, 28),
        mpy=6,
        chip="00",
        is_running=False,
        mark=None,
        selector=None,
        free=1_000_000,
    )
    wanted = job(small_release(tmp_path / "release", board="rp2040"))
    if code is None:
        require_fit(replace(facts, **change), wanted)
    else:
        assert code_of(lambda: require_fit(replace(facts, **change), wanted)) == code


def uf2_file(path: Path, count: int = 4, **change: int) -> Path:
    data = bytearray()
    for number in range(count):
        head = {"a": 0x0A324655, "b": 0x9E5D5157, "flags": 0x2000, "address": 0x10000000 + 256 * number}
        rest = {"length": 256, "number": number, "blocks": count, "family": 0xE48BFF56}
        fields = {**head, **rest, **(change if number == 2 else {})}
        data += struct.pack("<8I", *fields.values()) + bytes(476) + struct.pack("<I", 0x0AB16F30)
    path.write_bytes(data)
    return path


def test_the_first_image_of_a_board_is_checked_without_the_board(tmp_path: Path) -> None:
    form = boards.load("rp2040").uf2
    assert form is not None
    assert uf2.check(uf2_file(tmp_path / "good.uf2"), form) == 1_024
    for change in (
        {"a": 1},
        {"family": 0xADA52840},
        {"flags": 0},
        {"address": 0x20000000},
        {"address": 0x10000000},
        {"address": 0x10000001},
        {"number": 3},
        {"blocks": 5},
        {"length": 476},
    ):
        assert (
            code_of(lambda change=change: uf2.check(uf2_file(tmp_path / "x", **change), form))
            == uf2.Wrong.UF2
        )
    (tmp_path / "x").write_bytes(b"short")
    assert code_of(lambda: uf2.check(tmp_path / "x", form)) == uf2.Wrong.UF2
    assert code_of(lambda: boards.load("../rp2040")) == Common.NO_FILE
