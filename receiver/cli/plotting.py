"""The report as a picture: requests on a logarithmic scale, and how late each way learns. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

LEAST = 0.5  # requests: where the logarithmic scale begins, which has no zero
OURS, LOOPS = "#1b7f5c", "#9aa5b1"


def draw(shown: Mapping[str, Any], path: Path) -> None:
    """Write the picture. Raises ImportError without matplotlib, OSError, and ValueError for an ending that is none."""
    figure = import_module("matplotlib.figure").Figure(figsize=(9, 4), layout="constrained")
    requests, delays = figure.subplots(1, 2)
    ways = ["hookledger", *(f"{loop['every']} loop" for loop in shown["loops"])]
    colours = [OURS, *[LOOPS] * len(shown["loops"])]
    made = [shown["requests"]["made"], *(loop["requests"] for loop in shown["loops"])]
    _bars(requests, ways, [max(each, LEAST) for each in made], colours, [f"{each:,}" for each in made])
    requests.set_xscale("log")
    requests.set_xlim(left=LEAST)
    requests.set_xlabel(f"requests for {shown['tasks']['settled']} tasks")
    known = shown["delay_ms"]
    late = [each["p95"] for each in (known["callback"], known["query"], *(loop["delay_ms"] for loop in shown["loops"]))]
    roads = ["callback", "query", *ways[1:]]
    _bars(delays, roads, [(each or 0) / 1000 for each in late], [OURS, *colours], _said(late))
    delays.set_xlim(left=0)
    delays.set_xlabel("seconds until a final is known, p95")
    figure.savefig(path)


def _bars(axes: Any, names: list[str], values: list[float], colours: list[str], said: list[str]) -> None:
    """Each with its figure behind it: of a short one nobody could tell how short."""
    axes.bar_label(axes.barh(names, values, color=colours), said, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def _said(milliseconds: list[int | None]) -> list[str]:
    return ["none" if each is None else f"{each / 1000:.2f}" for each in milliseconds]
