"""`docs/orders.md` walks one order: its bytes are made, its programs run, its answers are the reader's."""

import doctest
import re

import pytest

from protocol.vectors import generate
from protocol.vectors.annotate import hex_of
from tests.builders import orders
from tests.builders.order_vectors import world
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "orders.md"
TEXT = PAGE.read_text(encoding="utf-8")
REFUSED = re.findall(r"^\| .* \| `([^`]+)` \| (\w+) (\w+) \|$", TEXT, re.MULTILINE)


def test_every_block_has_the_bytes_that_are_made() -> None:
    shown = dict(generate.spec_examples(TEXT))
    for name, block in shown.items():
        assert hex_of(block) == generate.example_bytes(name), name
    assert generate.refresh_spec(TEXT) == TEXT, "run `make vectors` and read the difference"
    assert TEXT.count("```tbox ") == len(shown) == 10


def test_the_parts_that_are_shown_are_parts_of_the_message() -> None:
    shown = {name: hex_of(block) for name, block in generate.spec_examples(TEXT)}
    whole = shown["order:lock"]
    parts = [shown[name] for name in ("order-payload:lock", "order-signer-1:lock", "order-signer:lock")]
    places = [whole.index(part) for part in parts]
    assert places == sorted(places)


def test_its_programs_print_what_it_says() -> None:
    programs = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(programs, {}, PAGE.name, str(PAGE), 0)
    done = doctest.DocTestRunner().run(test)
    assert (done.failed, done.attempted >= 15) == (0, True)


@pytest.mark.parametrize(("name", "outcome", "code"), REFUSED)
def test_what_does_not_work_gets_the_answer_stated(name: str, outcome: str, code: str) -> None:
    vector = next(one for one in world()["messages"] if one["name"] == name)
    at = orders.device(vector["changes"])
    reader = orders.go_answer if vector["reader"] == "go" else orders.answer
    assert reader(bytes.fromhex(vector["hex"]), at) == (outcome, code)


def test_the_traps_that_libraries_accept_are_among_them() -> None:
    assert {name for name, *_ in REFUSED} > {
        "trap/checker-zeroed",
        "trap/checker-unknown",
        "trap/maker-twice",
    }
    assert len(REFUSED) == TEXT.partition("## What does not work")[2].count("\n| ") - 1  # each row was read
