"""The examples in the simulators' docstrings are executed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import simulators

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(simulators.__path__, "simulators.")
    if not name.startswith("simulators.mcu_shim")  # MicroPython's own module names
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_do_what_they_say(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
