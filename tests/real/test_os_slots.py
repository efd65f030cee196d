"""RAUC in a real kernel: a good operating system starts from the other slot, a damaged one never."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.builders.os_guest import PATH, guest, run
from tests.conftest import ROOT, need

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow]

GUEST = """
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TBOX_BOOT_DIR=/var/lib/boot
P=@PLACE@
mkdir -p /var/lib/boot /run/dbus
echo good > /var/lib/boot/state.A; echo bad > /var/lib/boot/state.B; echo A > /var/lib/boot/primary
cp $P/old.img /var/lib/a.img; dd if=/dev/zero of=/var/lib/b.img bs=1M count=4 2>/dev/null
losetup /dev/loop0 /var/lib/a.img; losetup /dev/loop1 /var/lib/b.img
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/bus; export DBUS_SYSTEM_BUS_ADDRESS
dbus-daemon --config-file=$P/dbus.conf --fork
rauc -c $P/system.conf --override-boot-slot=A service > /run/rauc.log 2>&1 &
for i in 1 2 3 4 5 6 7 8 9 10; do rauc -c $P/system.conf status > /dev/null 2>&1 && break; sleep 0.3; done
start() {  # what the boot loader does: mount the primary slot and run its init
  slot=$($P/boot-slot get-primary); case $slot in A) dev=/dev/loop0 ;; *) dev=/dev/loop1 ;; esac
  mkdir -p /run/slot
  mount -t squashfs -o ro $dev /run/slot && chroot /run/slot /init $1 $slot
  umount /run/slot
}
start before
rauc -c $P/system.conf install $P/damaged.raucb > /run/install.log 2>&1; echo "INSTALL damaged rc=$?"
start damaged
rauc -c $P/system.conf install $P/foreign.raucb > /run/install2.log 2>&1; echo "INSTALL foreign rc=$?"
start foreign
rauc -c $P/system.conf install $P/good.raucb > /run/install3.log 2>&1; echo "INSTALL good rc=$?"
[ -s /run/install3.log ] && tail -3 /run/install3.log
cmp -n $(stat -c %s $P/new.img) /dev/loop1 $P/new.img && echo SLOT_B_IS_THE_IMAGE
start good
"""
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""


def signer(place: Path, name: str) -> None:
    """Make a key and a certificate with which RAUC's bundles may be signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / f"{name}.key").write_bytes(pem)
    (place / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def slot_image(place: Path, name: str, word: str) -> Path:
    """Make the image of a slot: a root whose init says which release it is."""
    root = place / f"{name}-root"
    (root / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox", path=PATH)
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "init").write_text(f"#!/bin/busybox sh\necho STARTED $1 {word} from $2\n")
    (root / "init").chmod(0o755)
    image = place / f"{name}.img"
    run(
        "mksquashfs",
        str(root),
        str(image),
        "-noappend",
        "-quiet",
        "-no-progress",
        "-comp",
        "gzip",
        "-all-root",
    )
    return image


def bundle(place: Path, name: str, image: Path, by: str) -> Path:
    content = place / f"{name}-content"
    content.mkdir()
    shutil.copy(image, content / "rootfs.img")
    (content / "manifest.raucm").write_text(
        "[update]\ncompatible=tbox-os\nversion=2\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.img\n"
    )
    out = place / f"{name}.raucb"
    run("rauc", "bundle", f"--cert={place / by}.pem", f"--key={place / by}.key", str(content), str(out))
    return out


@pytest.mark.timeout(200)
def test_a_good_bundle_starts_from_the_other_slot_and_a_damaged_or_foreign_one_never(tmp_path: Path) -> None:
    need("qemu-system-x86_64", "rauc", "mksquashfs", "busybox", "cpio", "modprobe", "dbus-daemon", "dpkg-deb")
    signer(tmp_path, "release")
    signer(tmp_path, "stranger")
    slot_image(tmp_path, "old", "release-1")
    new = slot_image(tmp_path, "new", "release-2")
    good = bundle(tmp_path, "good", new, "release")
    bundle(tmp_path, "foreign", new, "stranger")
    damaged = bytearray(good.read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    (tmp_path / "damaged.raucb").write_bytes(damaged)
    settings = (ROOT / "deploy" / "rauc" / "system.conf").read_text()
    for shipped, here in (
        ("/dev/disk/by-partlabel/tbox-a", "/dev/loop0"),
        ("/dev/disk/by-partlabel/tbox-b", "/dev/loop1"),
        ("/etc/rauc/keyring.pem", str(tmp_path / "release.pem")),
        ("/usr/lib/tbox/boot-slot", str(tmp_path / "boot-slot")),
        ("/var/lib/tbox-boot", "/var/lib/boot"),
    ):
        assert shipped in settings
        settings = settings.replace(shipped, here)
    (tmp_path / "system.conf").write_text(settings)
    shutil.copy(ROOT / "deploy" / "rauc" / "boot-slot", tmp_path / "boot-slot")
    (tmp_path / "dbus.conf").write_text(BUS)
    script = tmp_path / "guest.sh"
    script.write_text(GUEST.replace("@PLACE@", str(tmp_path)))
    said = guest(tmp_path, script)
    assert "GUEST_RC=0" in said, said[-3_000:]
    assert re.findall(r"STARTED (\w+) (\S+) from (\w)", said) == [
        ("before", "release-1", "A"),
        ("damaged", "release-1", "A"),
        ("foreign", "release-1", "A"),
        ("good", "release-2", "B"),
    ], said[-3_000:]
    results = dict(re.findall(r"INSTALL (\w+) rc=(\d+)", said))
    assert results["good"] == "0"
    assert results["damaged"] != "0"
    assert results["foreign"] != "0"
    assert "SLOT_B_IS_THE_IMAGE" in said
