"""What users install and read: the wheel, the locks, the contracts, and every promise of the pages that can be run."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import grimp
import httpx
import pytest
import typer
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sandbox as sandbox_package
import submitter
from receiver.cli import command_line
from receiver.config import Config, load_config
from receiver.configerrors import ConfigError
from tests.house.commands import Running, environment
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PACKAGES = ("submitter", "receiver", "sandbox")


def called(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


# --- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built as `pip wheel` would, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as opened:
        yield opened


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    assert {*PACKAGES, f"hookledger-{PROJECT['project']['version']}.dist-info"} == tops


def test_the_wheel_holds_every_module_and_migration(wheel: zipfile.ZipFile) -> None:
    wanted = {
        called(path)
        for package in PACKAGES
        for pattern in ("*.py", "*.sql", "*.html")
        for path in (ROOT / package).rglob(pattern)
    }

    assert "receiver/ledger/sql/sqlite/0001_ledger.sql" in wanted
    assert set() == wanted - set(wheel.namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_types_are_shipped_as_the_classifier_says(wheel: zipfile.ZipFile, package: str) -> None:
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
    assert f"{package}/py.typed" in wheel.namelist()


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(name).decode())

    assert {"hookledger": "receiver.__main__:main"} == dict(points["console_scripts"])


def test_the_wheel_brings_its_licence(wheel: zipfile.ZipFile) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_submitter_exports_just_this() -> None:
    exported = [
        "BadSignature",
        "Deferred",
        "FieldProblem",
        "HttpJournal",
        "HttpWatch",
        "ImageGenerationRequest",
        "InvalidRequest",
        "Journal",
        "JournalError",
        "NotAtRest",
        "OmniImageRequest",
        "ProviderClient",
        "ProviderSettings",
        "Refused",
        "ReportedStatus",
        "ResultImage",
        "ShownEvent",
        "ShownImage",
        "ShownState",
        "ShownTask",
        "StatusReport",
        "Submission",
        "Submitted",
        "Submitter",
        "SubmitterError",
        "TaskKey",
        "Unanswered",
        "Unreadable",
        "Watch",
        "WatchError",
        "fingerprint",
        "new_external_task_id",
    ]

    assert exported == submitter.__all__
    assert all(hasattr(submitter, name) for name in exported)


def test_the_sandbox_exports_just_this() -> None:
    exported = ["FaultPlan", "RunningSandbox", "SandboxSettings", "create_sandbox", "run_sandbox"]

    assert exported == sandbox_package.__all__
    assert all(hasattr(sandbox_package, name) for name in exported)


def test_the_version_is_the_newest_of_the_changelog() -> None:
    (newest, *_) = re.findall(r"^## (\d+\.\d+\.\d+)", text_of("CHANGELOG.md"), re.MULTILINE)

    assert newest == PROJECT["project"]["version"]


# --- the locks

LOCKS = ("requirements.txt", "requirements/dev.txt")
RUN_TIME = PROJECT["project"]["dependencies"]
WANTED = {LOCKS[0]: RUN_TIME, LOCKS[1]: RUN_TIME + PROJECT["dependency-groups"]["dev"]}


def locked(lock: str) -> dict[str, str]:
    """The lock's lines by package, each whole."""
    lines = re.sub(r"\\\n\s*", "", text_of(lock)).strip().splitlines()
    return {canonicalize_name(Requirement(line.partition(" --hash")[0]).name): line for line in lines}


def version_in(line: str) -> str:
    (pinned,) = Requirement(line.partition(" --hash")[0]).specifier
    assert "==" == pinned.operator
    return pinned.version


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_hashes(lock: str) -> None:
    lines = locked(lock)

    assert all(version_in(line) for line in lines.values())
    assert [] == [name for name, line in lines.items() if not re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line)]


@pytest.mark.parametrize("lock", [*LOCKS, "requirements/fuzz.txt"])
def test_a_lock_holds_no_address(lock: str) -> None:
    assert [] == re.findall(r"\S*://\S*|^-.*| @ .*", text_of(lock), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_covers_what_the_project_asks_for(lock: str) -> None:
    lines = locked(lock)
    asked = [Requirement(text) for text in WANTED[lock]]

    assert [] == [str(each) for each in asked if version_in(lines[canonicalize_name(each.name)]) not in each.specifier]


def test_the_run_time_lock_holds_what_its_packages_need_too() -> None:
    needed, looked_at = {Requirement(text).name for text in RUN_TIME}, set[str]()
    while left := needed - looked_at:
        name = left.pop()
        looked_at.add(name)
        more = map(Requirement, importlib.metadata.requires(name) or [])
        needed |= {each.name for each in more if each.marker is None or each.marker.evaluate({"extra": ""})}

    assert set() == {canonicalize_name(name) for name in needed} - set(locked("requirements.txt"))


def test_the_two_locks_agree() -> None:
    run_time, developing = locked(LOCKS[0]), locked(LOCKS[1])

    assert {} == {name: line for name, line in run_time.items() if developing.get(name) != line}


def test_the_procfile_is_the_readmes_line() -> None:
    assert "web: python -m receiver serve\n" == text_of("Procfile")
    assert "`web: python -m receiver serve`" in text_of("README.md")


# --- the pages


def test_the_made_pages_are_what_the_code_says() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (0, "") == (checked.returncode, checked.stderr)


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text())

    assert [] == [link for link in links if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or target.suffix != ".md" or anchor in anchors(target.read_text()))


def anchors(text: str) -> set[str]:
    """What GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_make_target_of_a_page_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text()))

    assert set() == named - targets


def test_every_module_that_make_runs_is_there() -> None:
    modules = re.findall(r"python -m ((?!pip|venv|pytest)[\w.]+)", text_of("Makefile"))

    assert modules
    assert [] == [module for module in modules if importlib.util.find_spec(module) is None]


MADE = {"config.toml", ".demo/", ".venv/"}  # by the user, or by a command


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:(?:\.ci|docs|tests|receiver|submitter|sandbox|benchmarks|requirements)/[\w./]+|\.importlinter|"
        r"[\w.]+\.(?:md|toml|txt)))`",
        page.read_text(),
    )

    assert [] == [name for name in named if name not in MADE and not (ROOT / name).exists()]


def test_the_readmes_map_is_of_this_tree() -> None:
    (drawn,) = re.findall(r"## The map\n\n```\n(.*?)```", text_of("README.md"), re.DOTALL)
    missing, folder = [], ROOT
    for line in drawn.splitlines():
        names = re.match(r" *((?:\w+(?:\.py|/) ?)*)", line)
        for name in names[1].split() if names else []:
            if not line.startswith(" "):
                folder = ROOT / name
            elif not (folder / name).exists():
                missing.append(f"{folder.name}/{name}")
        missing += [] if folder.exists() else [folder.name]

    assert [] == missing


def commands_in(page: Path) -> list[str]:
    """What stands behind `hookledger` in the page's consoles, without comments."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = re.sub(r"\\\n", "", "\n".join(blocks)).splitlines()
    return [found[1] for line in lines if (found := re.search(r"(?:^|[ /])hookledger (.*)", line.partition(" #")[0]))]


def test_every_command_of_the_pages_is_one() -> None:
    commands = [command for page in PAGES for command in commands_in(page)]

    assert 4 <= len(commands)
    assert [] == [problem for command in commands if (problem := misuse(command))]


def misuse(text: str) -> str | None:
    command, words = typer.main.get_command(command_line([])), shlex.split(text)
    try:
        while isinstance(getattr(command, "commands", None), dict):
            command = command.commands[words.pop(0)]
        command.make_context("hookledger", words)
    except (KeyError, click.ClickException) as error:
        return f"{text}: {error}"
    return None


def test_every_command_that_a_sentence_names_is_one() -> None:
    known = typer.main.get_command(command_line([])).commands
    sources = [*PAGES, *(ROOT / "receiver").rglob("*.py")]
    named = {word for path in sources for word in re.findall(r"[`']hookledger\s+([a-z]+)", path.read_text())}

    assert {"serve", "migrate"} <= named
    assert set() == named - set(known)


def test_every_variable_that_is_named_anywhere_is_understood() -> None:
    sources = [*PAGES, ROOT / "config.example.toml", *(ROOT / "receiver").rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"\bHOOKLEDGER_[A-Z_]*[A-Z]\b", path.read_text())}

    assert {"HOOKLEDGER_CONFIG", "HOOKLEDGER_POLLING__INTERVAL"} <= named
    assert [] == [name for name in sorted(named) if not is_understood(name)]


def is_understood(variable: str) -> bool:
    """The value may be no good; the name must be."""
    try:
        load_config(environment={variable: "x"})
    except ConfigError as error:
        return "is no key" not in str(error)
    return True


def test_the_ports_of_the_readme_are_the_defaults() -> None:
    (sandboxes,) = (
        each.default
        for each in typer.main.get_command(command_line([])).commands["sandbox"].params
        if each.name == "port"
    )

    assert {sandboxes, Config().server.port} == {
        int(port) for port in re.findall(r"(?:127\.0\.0\.1|localhost):(\d+)", text_of("README.md"))
    }


def examples(page: str = "README.md") -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def run_example(example: str, receiver: Running, sandbox: Running, folder: Path) -> str:
    """What it prints as it stands, but for the ports: those of the pages may be taken on this machine."""
    script = folder / "example.py"
    ours = {"http://127.0.0.1:8080": receiver.address, "http://127.0.0.1:8090": sandbox.address}
    script.write_text(re.sub("|".join(ours), lambda found: ours[found[0]], example))
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    return ran.stdout


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_readmes_examples_run_as_they_stand(
    receiver: Running, sandbox: Running, tmp_path: Path, number: int
) -> None:
    printed = run_example(examples()[number], receiver, sandbox, tmp_path)

    assert re.fullmatch(r"(t_\w+|succeeded \['http\S+'\])\n", printed)


def test_the_example_of_waiting_runs_as_it_stands(receiver: Running, sandbox: Running, tmp_path: Path) -> None:
    (example,) = examples("docs/events.md")
    printed = run_example(example, receiver, sandbox, tmp_path)

    assert re.fullmatch(
        r"succeeded \['http\S+'\]\nsucceeded \['succeeded', 'succeeded'\]\n"
        r"\d+ task.submitted\n\d+ task.processing\n\d+ task.succeeded\n",
        printed,
    )


def test_the_readmes_curl_lines_are_answered(receiver: Running) -> None:
    """Each `curl` of the README, said by another client."""
    blocks = re.findall(r"```console\n(.*?)```", text_of("README.md"), re.DOTALL)
    lines = [line.partition("  #")[0] for line in re.sub(r"\\\n", "", "".join(blocks)).splitlines()]
    name, answers = "", []
    for words in (shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ curl")):
        answer = curled(receiver, [word.replace("t_01J…", name) for word in words])
        name = name or answer.json()["external_task_id"]
        answers.append(answer.status_code)

    assert [201, 200, 200, 200, 200] == answers


def curled(receiver: Running, words: list[str]) -> httpx.Response:
    (url,) = (word for word in words if word.startswith("localhost:8080"))
    address = url.replace("localhost:8080", receiver.address)
    if "-d" not in words:
        return httpx.get(address, timeout=PATIENCE)
    header, _, value = words[words.index("-H") + 1].partition(": ")
    return httpx.post(address, content=words[words.index("-d") + 1], headers={header: value}, timeout=PATIENCE)


# --- the import contracts


def lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    """lint-imports beside this interpreter, leaving nothing behind."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_contracts_are_kept() -> None:
    checked = lint()

    assert 0 == checked.returncode, checked.stdout


def test_the_pure_contract_catches_a_module_that_reads_the_clock(tmp_path: Path) -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    contracts["importlinter:contract:pure"]["source_modules"] += "\nsubmitter.ids"
    changed = tmp_path / "contracts.ini"
    with changed.open("w") as file:
        contracts.write(file)

    checked = lint("--config", str(changed), "--contract", "pure")

    assert 1 == checked.returncode
    assert re.search(r"submitter\.ids -> (time|secrets)", checked.stdout)


def test_only_the_command_line_imports_the_sandbox() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    played = {"sandbox", *graph.find_descendants("sandbox")}

    players = {importer for module in played for importer in graph.find_modules_that_directly_import(module)} - played

    assert players
    assert set() == {player for player in players if not player.startswith("receiver.cli.")}
