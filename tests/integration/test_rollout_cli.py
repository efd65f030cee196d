"""`tbox backend rollout` at the server's keyboard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from backend.cli import app
from tests.builders.backend import make_backend

if TYPE_CHECKING:
    from pathlib import Path


def test_a_rollout_is_begun_paused_resumed_and_stopped_by_name(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    runner, home = CliRunner(), ["--home", str(backend.settings.home), "--json"]

    def call(*words: str) -> dict[str, object]:
        done = runner.invoke(app, ["rollout", *words, *home])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    begun = call("begin", "7", "--stages", "10,100", "--by", "ann")
    assert (begun["release"], begun["state"], begun["stage"]) == (7, "running", "1 of 2 (10 %)")
    rollout = str(begun["rollout"])
    assert call("pause", rollout, "--by", "ann", "--reason", "wait")["state"] == "paused"
    assert call("resume", rollout, "--by", "ann", "--reason", "go")["state"] == "running"
    early = runner.invoke(app, ["rollout", "approve", rollout, "--by", "ben", "--reason", "x", *home])
    assert early.exit_code == 7
    assert call("stop", rollout, "--by", "ann", "--reason", "enough")["state"] == "stopped"
    assert [item["state"] for item in call("list")["items"]] == ["stopped"]  # type: ignore[attr-defined]
    wrong = runner.invoke(app, ["rollout", "begin", "8", "--stages", "a", "--by", "ann", *home])
    assert wrong.exit_code == 2
