"""A small Linux in qemu, without acceleration, whose root is this machine's, read-only.

The kernel is Debian's, loaded once into `build/os` and kept there. What runs as root in the guest is a
script; it sees this machine's files and says its results on the console.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / "build" / "os"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "squashfs", "dm-verity", "loop")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
GUEST_S_MAX = 150  # 20 s with one processor free, 75 s beside eight busy processes (measured)
INIT = """#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules); do insmod /lib/modules/$m; done
mkdir -p /host /upper /root2
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro host /host
mount -t tmpfs tmpfs /upper
mkdir /upper/up /upper/work
mount -t overlay -o lowerdir=/host,upperdir=/upper/up,workdir=/upper/work overlay /root2
for d in proc sys dev; do mount --bind /$d /root2/$d; done
mount -t tmpfs tmpfs /root2/run
mount -t tmpfs tmpfs /root2/var/lib
chroot /root2 /bin/sh @SCRIPT@ > /dev/console 2>&1
echo GUEST_RC=$?
poweroff -f
"""


def run(*command: str, cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    found = shutil.which(command[0], path=PATH)
    assert found is not None, f"not installed: {command[0]}"
    done = subprocess.run(
        [found, *command[1:]],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        check=False,
        env=os.environ | {"PATH": PATH},
    )
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def kernel() -> tuple[Path, Path, str]:
    """Return the kernel, its root of modules and its version; from the cache, or from Debian."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("linux-image-*.deb")):
        listed = run("apt-cache", "depends", "linux-image-amd64").decode()
        name = next(line.split()[-1] for line in listed.splitlines() if "Depends:" in line)
        run("apt-get", "-q", "download", name, cwd=CACHE)
    root = CACHE / "k"
    if not (root / "boot").is_dir():
        beside = CACHE / "k.part"
        shutil.rmtree(beside, ignore_errors=True)
        run("dpkg-deb", "-x", str(next(CACHE.glob("linux-image-*.deb"))), str(beside))
        version = next((beside / "lib" / "modules").iterdir()).name
        run("depmod", "-b", str(beside), version)
        beside.rename(root)
    version = next((root / "lib" / "modules").iterdir()).name
    return root / "boot" / f"vmlinuz-{version}", root, version


def guest(place: Path, script: Path) -> str:
    """Run a script as root in the guest, and return what it said; /host is this machine, read-only."""
    image, root, version = kernel()
    ram = place / "ir"
    for folder in ("bin", "lib/modules", "proc", "sys", "dev"):
        (ram / folder).mkdir(parents=True)
    busybox = shutil.which("busybox", path=PATH)
    assert busybox is not None
    shutil.copy(busybox, ram / "bin" / "busybox")
    (ram / "bin" / "sh").symlink_to("busybox")
    names = []
    for module in MODULES:
        shown = run("modprobe", "-d", str(root), "-S", version, "--show-depends", module).decode()
        paths = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod")]
        for path in paths:
            if (name := Path(path).name) not in names:
                names.append(name)
                shutil.copy(path, ram / "lib" / "modules" / name)
    (ram / "modules").write_text("\n".join(names))
    (ram / "init").write_text(INIT.replace("@SCRIPT@", str(script)))
    (ram / "init").chmod(0o755)
    listed = "\n".join(str(path.relative_to(ram)) for path in [ram, *sorted(ram.rglob("*"))]).encode()
    (place / "ir.cpio").write_bytes(run("cpio", "-o", "-H", "newc", "--quiet", cwd=ram, stdin=listed))
    share = "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-smp", "2"]
    command += ["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-virtfs", share]
    command += ["-kernel", str(image), "-initrd", str(place / "ir.cpio")]
    command += ["-append", "console=ttyS0 quiet panic=-1"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GUEST_S_MAX, check=False
    )
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
