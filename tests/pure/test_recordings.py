"""Every payload shape of wire.md, as text, and what it is read as."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from submitter.errors import SubmitterError
from tests.pure.builders import NOW, provider, received

RECORDINGS = sorted((Path(__file__).parent.parent / "recordings").glob("*.json"))
MARKS = {"D", "O", "C", "I", "?"}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_each_recording_is_read_as_it_says(path: Path) -> None:
    recording = json.loads(path.read_text())

    reading = _reading(recording)

    assert recording["expected"] == {key: reading.get(key) for key in recording["expected"]}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_each_recording_says_where_it_is_from(path: Path) -> None:
    recording = json.loads(path.read_text())

    provider_name, road, _ = path.stem.split("-", 2)

    assert (provider_name, road) == (recording["provider"], recording["road"])
    assert recording["source"] in MARKS
    assert recording["note"]


@pytest.mark.parametrize("kind", ["kling", "cometapi", "powertokens"])
def test_every_provider_has_answers_and_callbacks_on_record(kind: str) -> None:
    roads = {path.stem.split("-", 2)[1] for path in RECORDINGS if path.stem.startswith(kind)}

    assert {"answer", "callback"} == roads


def _reading(recording: dict[str, Any]) -> dict[str, Any]:
    dialect = provider(recording["provider"])
    try:
        if recording["road"] == "callback":
            report, _ = dialect.read_callback(received(recording["body"]), now=NOW)
            reports = [report]
        else:
            reports = dialect.read_answer(recording["http_status"], recording["body"].encode())
    except SubmitterError as error:
        return {
            "error": type(error).__name__,
            "kind": getattr(error, "kind", None),
            "code": getattr(error, "code", None),
        }
    return {"reports": [_shown(each) for each in reports]}


def _shown(report: Any) -> dict[str, Any]:
    shown = asdict(report) | {"images": [[each.index, each.url, each.watermark_url] for each in report.images]}
    del shown["provider"]
    return shown
