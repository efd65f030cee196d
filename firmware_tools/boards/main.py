"""What a board runs first: it looks for the image that counts, and runs it whole or not at all.

Rules (docs/adr/0051): two folders, `a` and `b`, each a release as it was signed. `boot.json` says which of
them counts and the SHA-256 of its manifest, and is only ever replaced by a rename, so that it is the old one
or the new one. Every file is compared with the manifest before any of it is run: a half-written image does
not start. Without a whole image nothing drives the relay, and the starter works. Nothing but the chosen
folder and the port's own modules is on the path, so that no module comes from elsewhere. A file named `hold`
keeps the image from starting, once: whoever loads a board needs it without its watchdog.

It verifies no signature: whoever may write the flash may write this file too (docs/adr/0051). It has no
annotations, and the image is imported by its name.
"""

import sys

OTHERS = [folder for folder in sys.path if folder not in ("", "/lib")]
sys.path[:] = OTHERS

import binascii
import hashlib
import json
import os

MARK, HOLD, SLOTS = "boot.json", "hold", ("a", "b")


def chosen():
    """Return the folder of the image that counts.

    Raises:
        ValueError, OSError, KeyError: there is none that is whole.
    """
    with open(MARK) as file:
        mark = json.load(file)
    slot = mark["slot"]
    if slot not in SLOTS:
        raise ValueError("no such slot")
    with open(slot + "/manifest.json", "rb") as file:
        data = file.read()
    if digest([data]) != mark["manifest"]:
        raise ValueError("manifest")
    for entry in json.loads(data)["files"]:
        path = slot + "/" + entry["path"]
        with open(path, "rb") as file:
            if digest(pieces(file)) != entry["sha256"]:
                raise ValueError(path)
    return slot


def pieces(file):
    """Yield a file in pieces that fit a small heap."""
    while True:
        piece = file.read(1024)
        if not piece:
            return
        yield piece


def digest(parts):
    """Return SHA-256 of bytes in parts, in hex."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return binascii.hexlify(found.digest()).decode()


def is_held():
    """Return whether somebody loads the board; true once."""
    try:
        os.remove(HOLD)
    except OSError:
        return False
    return True


def start():
    """Run the image, or say why there is none."""
    if is_held():
        print("held: a board that is being loaded")
        return
    try:
        slot = chosen()
    except (ValueError, OSError, KeyError) as error:
        print("no image:", error)
        return
    sys.path[:] = [slot] + OTHERS
    __import__("device.mcu.main", None, None, ("main",)).main()


start()
