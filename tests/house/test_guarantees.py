"""docs/guarantees.md and SECURITY.md name tests: each is where they say, and each promise names at least one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
THREATS = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [PAGE, THREATS], ids=["guarantees", "threats"])
def test_every_test_that_the_page_names_is_there(page: str) -> None:
    missing = [
        f"{file}: {name}"
        for file, names in re.findall(r"^- `(tests/[\w/]+\.py)`:((?:.|\n  )*)", page, flags=re.MULTILINE)
        for name in re.findall(r"`(test_\w+)`", names)
        if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert [] == missing


def test_every_promise_names_a_test() -> None:
    promises = re.findall(r"^## \d\. ((?:.|\n(?!## ))*)", PAGE, flags=re.MULTILINE)

    assert 8 == len(promises)
    assert [] == [promise.splitlines()[0] for promise in promises if "`tests/" not in promise]


def test_every_scenario_is_in_the_catalogue_once_and_nothing_else_is() -> None:
    listed = re.findall(r"^\| .* \| `(test_\w+\.py)`: `(test_\w+)` \| [\d, ]+ \|$", PAGE, flags=re.MULTILINE)
    written = [
        (file.name, name)
        for file in (ROOT / "tests" / "conformance").glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]

    assert sorted(written) == sorted(listed)


def test_every_promise_has_scenarios_that_show_it() -> None:
    shown = re.findall(r"^\| .* \| `test_.*` \| ([\d, ]+) \|$", PAGE, flags=re.MULTILINE)

    assert set("12345678") == {number for numbers in shown for number in numbers.split(", ")}


def test_every_threat_names_a_test() -> None:
    threats = re.split(r"^## ", THREATS, flags=re.MULTILINE)[2:]

    assert 14 == len(threats)
    assert [] == [threat.splitlines()[0] for threat in threats if "`tests/" not in threat]
