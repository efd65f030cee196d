"""`os` whose random bytes, board and flash are the simulator's, so that a run repeats; see the package."""

import uos
from uos import *  # noqa: F403 - all else stays MicroPython's own


def urandom(count):
    """Return bytes of the simulator's seeded generator."""
    import binascii

    from hwsim import call

    return binascii.unhexlify(call("random", count))


def uname():
    """Return what the board calls itself: sysname, nodename, release, version, machine."""
    from hwsim import call

    return tuple(call("uname"))


def statvfs(path):
    """Return the flash as the simulator has it: size of a block, blocks and free blocks among ten numbers."""
    from hwsim import call

    uos.stat(path)  # raises for what is not there, as the real one
    block, blocks, free = call("statvfs")
    return (block, block, blocks, free, free, 0, 0, 0, 0, 255)


def _writable():
    from hwsim import call

    error = call("take", 0)
    if error:
        raise OSError(error)


def mkdir(path):
    """Make a folder."""
    _writable()
    uos.mkdir(path)


def remove(path):
    """Remove a file."""
    _writable()
    uos.remove(path)


def rename(old, new):
    """Give a file another name; what had it is gone at the same moment."""
    _writable()
    uos.rename(old, new)
