"""A problem's code is always answered with the status that the table of codes gives it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import receiver
from receiver.problems import CODES, problem_of
from submitter.errors import InvalidRequest, Refused

SOURCES = sorted(Path(receiver.__file__).parent.rglob("*.py"))


def written() -> Iterator[tuple[str, int]]:
    """Every code and status that the receiver's source writes side by side, in a call or in a table."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Problem"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ):
                    yield code, status
                case ast.Tuple(elts=[ast.Constant(value=int(status)), ast.Constant(value=str(code))]) if code in CODES:
                    yield code, status
                case ast.Call(func=ast.Name(id="not_acknowledged"), args=[ast.Constant(value=str(code)), *_]):
                    yield code, 503


def test_every_code_is_written_with_its_own_status() -> None:
    found = list(written())

    assert 20 < len(found)
    assert [] == [(code, status) for code, status in found if code not in CODES or CODES[code].status != status]


def test_every_code_is_written_somewhere() -> None:
    text = "".join(path.read_text() for path in SOURCES)

    assert [] == [code for code in CODES if text.count(f'"{code}"') < 2]


def test_what_a_provider_or_a_check_refuses_has_its_own_status_too() -> None:
    errors = [InvalidRequest([]), Refused("no", code="1301", http_status=400), LookupError()]
    problems = [problem_of(error) for error in errors]

    assert ["invalid_request", "refused", "internal"] == [problem.code for problem in problems]
    assert all(CODES[problem.code].status == problem.status for problem in problems)
