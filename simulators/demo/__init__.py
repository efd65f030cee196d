"""`tbox demo`: a simulated car driving, from CAN bus to signed trace; the command is in `command`."""

from simulators.demo.command import app

__all__ = ["app"]
