"""`os` whose random bytes are the simulator's, so that a run repeats; see the package."""

from uos import *  # noqa: F403 - all else stays MicroPython's own


def urandom(count):
    """Return bytes of the simulator's seeded generator."""
    import binascii

    from hwsim import call

    return binascii.unhexlify(call("random", count))
