"""What the demo submits: every account and endpoint, and each kind of trouble at least once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from submitter.request import Endpoint

SUBJECTS = (
    "a lighthouse in the fog",
    "two cats on a piano",
    "the first snow over Prague",
    "a fox reading a map",
    "a market by the sea",
    "an owl in a library",
    "a red bicycle in the rain",
    "mountains made of glass",
)

# Account and the sandbox's directive. Each line is a trouble that a callback path or a gateway really has.
TROUBLES: tuple[tuple[str, str], ...] = (
    ("kling", "clean"),
    ("cometapi", "drop_all"),
    ("powertokens", "duplicate"),
    ("kling", "reorder"),
    ("cometapi", "early,foreign_ids"),
    ("powertokens", "odd_shape=wrapped"),
    ("kling", "unanswered"),
    ("cometapi", "failed"),
    ("powertokens", "busy"),
    ("kling", "forged"),
    ("cometapi", "odd_shape=newer,duplicate"),
    ("powertokens", "drop_all,foreign_ids"),
    ("kling", "opposite"),
    ("cometapi", "policy"),
    ("powertokens", "reorder,duplicate,foreign_ids"),
    ("kling", "drop_all,not_exist_lag"),
    ("cometapi", "forged"),
    ("powertokens", "unanswered"),
    ("kling", "odd_shape=float_times,delay"),
    ("cometapi", "forged_url,reorder"),
    ("powertokens", "slow"),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One task of the demo."""

    provider: str
    endpoint: Endpoint
    fields: dict[str, Any]
    trouble: str


def plan(tasks: int) -> list[Planned]:
    """`tasks` of them: the troubles in turn, then again, with other subjects and counts."""
    return [
        _planned(number, provider, trouble)
        for number, (provider, trouble) in zip(range(tasks), itertools.cycle(TROUBLES), strict=False)
    ]


def _planned(number: int, provider: str, trouble: str) -> Planned:
    prompt = f"{SUBJECTS[number % len(SUBJECTS)]} [[{trouble}]]"
    ratio = ("1:1", "16:9", "9:16", "3:2")[number % 4]
    if number % 3 == 2:
        fields = {"prompt": prompt, "n": 1 + number % 4, "aspect_ratio": ratio, "negative_prompt": "text"}
        return Planned(provider, "generations", fields, trouble)
    if number % 10 == 3:
        fields = {"prompt": prompt, "result_type": "series", "series_amount": 3, "aspect_ratio": ratio}
        return Planned(provider, "omni-image", fields, trouble)
    fields = {"prompt": prompt, "n": 1 + number % 3, "aspect_ratio": ratio, "resolution": ("1k", "2k")[number % 2]}
    return Planned(provider, "omni-image", fields, trouble)
