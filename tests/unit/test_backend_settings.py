"""Settings: precedence, all problems together, and no secret in a message."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.errors import SettingsError
from backend.settings import load_settings


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text('api_port = 1001\nbroker_port = 1002\napi_host = "::1"\n')
    monkeypatch.setenv("TBOX_API_PORT", "2001")
    monkeypatch.setenv("TBOX_BROKER_PORT", "2002")
    settings = load_settings(home=tmp_path, api_port=3001)
    assert (settings.api_port, settings.broker_port, settings.api_host) == (3001, 2002, "::1")


def test_the_home_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TBOX_HOME", str(tmp_path))
    (tmp_path / "settings.toml").write_text("api_port = 1001\n")
    settings = load_settings()
    assert (settings.home, settings.api_port) == (tmp_path, 1001)


def test_the_database_lies_in_the_home_unless_another_is_named(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).database_url == f"sqlite+pysqlite:///{tmp_path}/tbox.sqlite"
    assert load_settings(home=tmp_path, database="postgresql+psycopg://db/x").database_url.startswith(
        "postgres"
    )


def test_all_problems_are_reported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TBOX_API_PORT", "many")
    monkeypatch.setenv("TBOX_BROKER_PORT", "0")
    monkeypatch.setenv("TBOX_DEMO", "perhaps")
    with pytest.raises(SettingsError) as wrong:
        load_settings(home=tmp_path)
    assert all(name in wrong.value.what for name in ("api_port", "broker_port", "demo"))


def test_what_was_given_is_not_repeated_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TBOX_API_PORT", "hunter2")
    with pytest.raises(SettingsError) as wrong:
        load_settings(home=tmp_path)
    assert "hunter2" not in wrong.value.diagnostics()


@pytest.mark.parametrize("text", ["api_prot = 1\n", "api_port = \n", 'demo = "perhaps"\n', "\xff"])
def test_a_file_that_is_not_as_expected_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.toml").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError) as wrong:
        load_settings(home=tmp_path)
    assert wrong.value.exit_code == 3


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with pytest.raises(ValidationError):
        settings.api_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "beyond"),
    [
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.7", True),
        ("localhost.example.com", True),
    ],
)
def test_what_others_can_reach_is_known(tmp_path: Path, host: str, *, beyond: bool) -> None:
    assert load_settings(home=tmp_path, api_host=host).listens_beyond_loopback is beyond


@pytest.mark.parametrize(
    "address",
    ["postgresql://tbox:s3cret@db/tbox", "postgresql://tbox@db/tbox?password=s3cret", "s3cret"],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    """Wherever it was written: the environment, the file, an argument."""
    (tmp_path / "settings.toml").write_text(f'database = "{address}"\n')
    with pytest.raises(SettingsError) as wrong:
        load_settings(home=tmp_path)
    shown = wrong.value.diagnostics()
    assert "s3cret" not in shown
    assert "database: " in shown


def test_a_file_with_the_password_may_be_named(tmp_path: Path) -> None:
    address = "postgresql://tbox@db/tbox?passfile=/srv/tbox/keys/pgpass"
    assert load_settings(home=tmp_path, database=address).database_url == address
