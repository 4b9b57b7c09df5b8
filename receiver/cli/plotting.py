"""The report as a picture: requests on a logarithmic scale, and how late each way learns. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

OURS, LOOPS = "#1b7f5c", "#9aa5b1"


def draw(shown: Mapping[str, Any], path: Path) -> None:
    """Write the picture. Raises ImportError without matplotlib, OSError, and ValueError for an ending that is none."""
    figure = import_module("matplotlib.figure").Figure(figsize=(9, 4), layout="constrained")
    requests, delays = figure.subplots(1, 2)
    ways = ["hookledger", *(f"{loop['every']} loop" for loop in shown["loops"])]
    colours = [OURS, *[LOOPS] * len(shown["loops"])]
    made = [shown["requests"]["made"], *(loop["requests"] for loop in shown["loops"])]
    _bars(requests, ways, [max(each, 0.5) for each in made], colours)
    requests.set_xscale("log")
    requests.set_xlabel(f"requests for {shown['tasks']['settled']} tasks")
    known = shown["delay_ms"]
    _bars(
        delays,
        ["callback", "query", *ways[1:]],
        [_seconds(each["p95"]) for each in (known["callback"], known["query"])]
        + [_seconds(loop["delay_ms"]["p95"]) for loop in shown["loops"]],
        [OURS, *colours],
    )
    delays.set_xlabel("seconds until a final is known, p95")
    figure.savefig(path)


def _bars(axes: Any, names: list[str], values: list[float], colours: list[str]) -> None:
    axes.barh(names, values, color=colours)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _seconds(milliseconds: int | None) -> float:
    return 0.0 if milliseconds is None else milliseconds / 1000
