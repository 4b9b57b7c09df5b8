"""The commands as a person meets them: what they say of themselves, misuse, colours and pipes, and playing."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from receiver.cli import command_line, main
from tests.house.commands import COMMAND, Ran, configured, environment, run, run_all, taken_port

COMMANDS = [
    "demo",
    "serve",
    "tick",
    "submit",
    "callbacks list",
    "callbacks show",
    "callbacks replay",
    "deliveries list",
    "deliveries redeliver",
    "destinations",
    "events tail",
    "listen",
    "report",
    "tasks list",
    "tasks show",
    "tasks refresh",
    "tasks resend",
    "tasks abandon",
    "keys add",
    "keys list",
    "keys revoke",
    "doctor",
    "config show",
    "config check",
    "migrate",
    "sandbox",
    "simulate",
]
GO_ON_OR_DRAW = {"demo", "serve", "sandbox"}  # they play or serve; what they answer is not data
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


@pytest.fixture(autouse=True, scope="module")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Ran] | None]:
    """The demo, which mostly waits: it runs beside the other tests, if its own is to run."""
    if not any(item.name == "test_a_small_demo_adds_up" for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("demo")
    with ThreadPoolExecutor(1) as aside:
        yield aside.submit(run, folder, "demo", "--tasks", "9", "--folder", "small", patience=60)


def subcommands(command: Any, prefix: str = "") -> Iterator[str]:
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from subcommands(each, f"{prefix}{name} ")
        else:
            yield prefix + name


# --- what each command says of itself


def test_there_are_just_these_commands() -> None:
    known = sorted(subcommands(typer.main.get_command(command_line([]))))

    assert sorted(COMMANDS) == known


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(
        command_line([]), [*command.split(), "--help"], prog_name="hookledger", terminal_width=200
    )

    assert 0 == shown.exit_code
    assert f"Usage: hookledger {command}" in shown.stdout


@pytest.mark.parametrize("command", sorted({*COMMANDS} - GO_ON_OR_DRAW))
def test_every_command_that_prints_data_has_json(command: str) -> None:
    shown = CliRunner().invoke(command_line([]), [*command.split(), "--help"], terminal_width=200)

    assert "--json" in shown.stdout


def test_the_real_command_explains_itself_and_so_does_an_empty_one(tmp_path: Path) -> None:
    asked, short, empty = run_all(tmp_path, [["--help"], ["-h"], []])

    assert (0, 0, 2) == (asked.code, short.code, empty.code)
    assert all("serve" in ran.out + ran.err for ran in (asked, short, empty))


# --- misuse


MISUSES = [
    (["serv"], "serve"),
    (["serve", "--prot", "1"], "--port"),
    (["serve", "--port", "99999"], "server.port (from the command line)"),
    (["--config", "nowhere.toml", "serve"], "nowhere.toml"),
    (["tick", "--config", "broken.toml"], "broken.toml"),
    (["config", "show", "--config", "misspelt.toml"], "did you mean polling.interval?"),
    (["config", "check", "--config", "public.toml", "--json"], "api.keys"),
    (["serve", "--config", "public.toml"], "callbacks.secrets"),
    (["serve", "--config", "postgres.toml"], "sqlite:///path"),
    (["submit", "a fox"], "config.example.toml"),
    (["submit", "a fox", "--set", "n"], "--set n"),
    (["submit", "a fox", "--image", "nowhere.png"], "nowhere.png"),
    (["submit", "a fox", "--receiver", "http://127.0.0.1:9", "--provider", "kling"], "'kling'"),
    (["tasks", "list", "--state", "done"], "done"),
    (["tasks", "resend", "t_1"], "--may-pay-twice"),
    (["sandbox", "--faults", "dorp=1"], "dorp"),
    (["demo", "--tasks", "1"], "--tasks"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSES, ids=[" ".join(arguments) for arguments, _ in MISUSES])
def test_misuse_exits_2_and_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    write_configurations(tmp_path)

    ran = run_here(tmp_path, arguments, monkeypatch, capsys)

    assert 2 == ran.code
    assert words in unwrapped(ran.err + ran.out)
    assert "" == ran.out or "--json" in arguments


def write_configurations(folder: Path) -> None:
    configured(folder)
    (folder / "broken.toml").write_text("[server\n")
    (folder / "misspelt.toml").write_text("[polling]\nintervall = '1s'\n")
    (folder / "public.toml").write_text("public_url = 'https://hooks.example.com'\n")
    (folder / "postgres.toml").write_text("[ledger]\nurl = 'postgresql://db/hookledger'\n")


def run_here(
    folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ran:
    """The command in this process: a start costs more than all that a misuse does."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hookledger", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return Ran(int(ended.value.code or 0), said.out, said.err)


def unwrapped(text: str) -> str:
    """What typer's boxes broke into lines, in one."""
    return " ".join(text.replace("│", " ").split())


def test_a_misspelt_variable_exits_2_naming_it_and_the_nearest_key(tmp_path: Path) -> None:
    ran = run(tmp_path, "serve", env={"HOOKLEDGER_POLLING__INTERVALL": "1s"})

    assert 2 == ran.code
    assert "HOOKLEDGER_POLLING__INTERVALL" in ran.err
    assert "did you mean polling.interval?" in ran.err


def test_the_variable_that_shows_tracebacks_is_understood(tmp_path: Path) -> None:
    ran = run(tmp_path, "config", "show", env={"HOOKLEDGER_TRACEBACK": "1"})

    assert (0, "") == (ran.code, ran.err)


def test_a_public_url_that_is_none_is_no_fault_of_ours(tmp_path: Path) -> None:
    """A command that does without a receiver puts the address into callback URLs, as `serve` does."""
    ran = run_all(tmp_path, [["config", "check"], ["serve"], ["tick"]], env={"HOOKLEDGER_PUBLIC_URL": "https://[bad"})

    assert [2, 2, 2] == [each.code for each in ran]
    assert all("public_url: 'https://[bad' is no URL" in each.err for each in ran)


def test_nothing_is_submitted_with_an_address_that_the_provider_cannot_reach(tmp_path: Path) -> None:
    configured(tmp_path, "[providers.kling]\nbase_url = 'https://gateway.invalid'\napi_key = 'any'\n")

    ran = run(tmp_path, "submit", "a fox")

    assert 2 == ran.code
    assert "public_url: is not set, and kling cannot call back to this machine's own address" in ran.err
    assert not (tmp_path / "hookledger.db").exists()


@pytest.mark.parametrize("command", ["serve", "sandbox"])
def test_a_taken_port_exits_2_naming_it(tmp_path: Path, command: str) -> None:
    with taken_port() as port:
        ran = run(tmp_path, command, "--port", str(port))

    assert 2 == ran.code
    assert f"127.0.0.1:{port}" in ran.err
    assert "--port" in ran.err


# --- colours and pipes


def test_colours_are_for_those_who_want_them(tmp_path: Path) -> None:
    coloured = run(tmp_path, "tasks", "list", env={"FORCE_COLOR": "1"})
    plain = run(tmp_path, "tasks", "list", env={"FORCE_COLOR": "1", "NO_COLOR": "1"})

    assert COLOUR.search(coloured.err)
    assert not COLOUR.search(plain.err)


def test_no_color_holds_for_the_log_of_serve_too(tmp_path: Path) -> None:
    configured(tmp_path, "[logging]\nformat = 'console'\n")

    shown = log_on_a_terminal(tmp_path, {"NO_COLOR": "1", "TERM": "xterm"})

    assert not COLOUR.search(shown)


def log_on_a_terminal(folder: Path, env: dict[str, str]) -> str:
    """What `serve` writes on a terminal until it listens."""
    ours, its = os.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0"], cwd=folder, env=environment(env), stdout=its, stderr=its
        )
        os.close(its)
        stack.callback(process.wait)
        stack.callback(process.kill)
        shown = ""
        while "listening" not in shown:
            shown += os.read(ours, 4096).decode()
        return shown


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "show", "--json"]], ids=" ".join)
def test_a_pipe_that_was_closed_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    nobody, pipe = os.pipe()
    os.close(nobody)
    try:
        ran = subprocess.run(
            [*COMMAND, *arguments], cwd=tmp_path, env=environment(), stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(pipe)

    assert (0, b"") == (ran.returncode, ran.stderr)


# --- playing


def test_the_sandbox_lists_what_can_go_wrong(tmp_path: Path) -> None:
    ran = run(tmp_path, "sandbox", "--list-faults")

    assert 0 == ran.code
    assert {"drop", "duplicate", "reorder", "forged"} <= {line.split()[0] for line in ran.out.splitlines() if line}
    assert "[[drop]]" in ran.out


def test_a_small_demo_adds_up(demo: Future[Ran]) -> None:
    ran = demo.result()

    assert 0 == ran.code
    assert 10 == ran.out.count("✓")
    assert "✗" not in ran.out
