"""Modules that take the place of MicroPython's own on the unix port; the hardware simulator answers them.

Each call is one line of JSON to the simulator and one back. They are on MicroPython's path only, never on
CPython's.
"""
