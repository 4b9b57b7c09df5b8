"""docs/guarantees.md names tests: each is where it says, and each promise names at least one."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    missing = [
        f"{file}: {name}"
        for file, names in re.findall(r"^- `(tests/[\w/]+\.py)`:((?:.|\n  )*)", PAGE, flags=re.MULTILINE)
        for name in re.findall(r"`(test_\w+)`", names)
        if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert [] == missing


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)[1:]

    assert 8 == len(promises)
    assert [] == [
        promise.splitlines()[0] for promise in promises if "`tests/" not in promise and "make demo" not in promise
    ]
