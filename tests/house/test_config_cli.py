"""`config show` and `config check`: what they show, what they hide, and what they find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from receiver.cli import command_line, main
from receiver.configerrors import ConfigError
from tests.house.configurations import SECRET, written

pytestmark = pytest.mark.usefixtures("folder_of_its_own")

WEBHOOK_SECRET = "whsec_ZG8tbm90LXJlcGVhdC1tZS1hbnl3aGVyZQ=="


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "show", "--json"]], ids=" ".join)
def test_config_show_masks_every_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(
        f"""
        [api]
        keys = ["{SECRET}-1"]
        [callbacks]
        secrets = ["{SECRET}-2"]
        [providers.kling]
        access_key = "who-it-is"
        secret_key = "{SECRET}-3"
        webhook_secrets = ["{WEBHOOK_SECRET}"]
        [providers.cometapi]
        api_key = "{SECRET}-4"
        [[destinations]]
        name = "app"
        url = "https://app.example.com"
        secret = "{WEBHOOK_SECRET}"
        """,
        "config.toml",
    )

    shown = output_of(arguments, monkeypatch, capsys)

    assert SECRET not in shown
    assert WEBHOOK_SECRET not in shown
    assert 6 == shown.count("********")


def test_config_show_masks_the_password_of_a_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@db/hookledger")

    shown = output_of(["config", "show"], monkeypatch, capsys)

    assert SECRET not in shown
    assert "db/hookledger" in shown


def test_config_show_hides_what_a_url_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(
        f"[[destinations]]\nname = 'app'\nurl = 'https://app.example.com/hook?key={SECRET}'\n"
    )

    shown = output_of(["config", "show"], monkeypatch, capsys)

    assert "https://app.example.com/hook?…" in shown
    assert SECRET not in shown


def output_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints, run in this process."""
    monkeypatch.setattr(sys, "argv", ["hookledger", *arguments])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out


def test_config_check_finds_a_handler_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('handlers = ["nowhere.at_all:on_event"]')

    with pytest.raises(ConfigError, match=r"nowhere\.at_all cannot be imported here"):
        command_line(["config"])(["config", "check"], standalone_mode=False)
