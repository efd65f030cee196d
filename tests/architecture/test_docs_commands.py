"""Every `tbox …` of README and guides is a command that exists, with the options it shows.

Rules: a command is read from a line of a shell block, or from text between back-quotes, up to a comment, a
pipe or `&&`. Its words are looked up in the command's own tree. Values and files are not judged.
"""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer.main

from device.agent.cli import app as agent

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]
GROUPS = {point.name: point for point in entry_points(group="tbox.commands")}
GROUPS_BEHIND_A_FUNCTION = {"agent": agent}
_SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`((?:\.venv/bin/|/opt/tbox/bin/)?tbox [^`]*)`")
_CALL = re.compile(r"(?:^|[\s/])(tbox [a-z].*)$")


def commands(text: str) -> list[str]:
    """Return what a page calls."""
    lines = [
        line.partition(" #")[0]
        for block in _SHELL.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    found = [match[1] for line in lines if (match := _CALL.search(line))]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = [" ".join(match.split()) for match in _INLINE.findall(prose)]
    return [re.split(r"&&|\||…$", call)[0].strip() for call in [*found, *inline]]


def problem(call: str) -> str | None:
    """Return what is wrong with a call, or None."""
    words = shlex.split(re.sub(r"<[^>]*>", "X", call))[1:]
    if words[0] not in GROUPS:
        return f"no group {words[0]}" if words[0].isalpha() and words[0].islower() else None
    app = GROUPS_BEHIND_A_FUNCTION.get(words[0]) or GROUPS[words[0]].load()
    command = typer.main.get_command(app)
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("--"):
            options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
            name = word.partition("=")[0]
            if name not in options and name != "--help":
                return f"{command.name} has no {word}"
            if name in options and name == word and not getattr(options[name], "is_flag", False):
                next(rest, None)  # its value
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return f"{command.name} has no command {word}"
            command = command.commands[word]
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    wrong = {call: found for call in commands(page.read_text("utf-8")) if (found := problem(call))}
    assert not wrong


def test_a_wrong_command_or_option_would_be_found() -> None:
    assert problem("tbox backend orders run --gate-urls x") is not None
    assert problem("tbox backend order run") is not None
    assert problem("tbox backends serve") is not None
    assert problem("tbox backend orders run --gate-url x") is None


def test_the_guides_of_locking_name_commands() -> None:
    for name, least in (("lock-operator.md", 10), ("lender.md", 25), ("gate.md", 6)):
        assert len(commands((ROOT / "docs" / "guides" / name).read_text("utf-8"))) >= least, name
