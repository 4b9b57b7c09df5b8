"""JSON turned into other JSON: bytes turned at random are hardly ever JSON, and then nobody reads them."""

from __future__ import annotations

import json
import random
from typing import Any

NAMES = [
    "task_id", "id", "task_status", "status", "task_status_msg", "message", "fail_reason", "task_info",
    "external_task_id", "external_id", "task_result", "result_type", "images", "series_images", "outputs", "index",
    "url", "watermark_url", "type", "created_at", "updated_at", "create_time", "update_time",
    "final_unit_deduction", "final_balance_deduction", "billing", "amount", "code", "data", "error",
]  # fmt: skip
WORDS = [
    "succeed", "succeeded", "success", "failed", "failure", "submitted", "processing", "queued", "in_progress",
    "not_start", "series", "image", "https://a.example/0.png?sig=1", "https://b.example/1.png", "t_1_cometapi",
    "t_2_kling", "\x00", "\ud800", "\ufeff", "0", "-1", "1e999", "NaN", "9e18",
]  # fmt: skip
LEAVES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**18, 10**400, 0.5, 1e308, 1_782_450_245_512,
    4_102_444_800_000, "", "x" * 300, "9" * 70, [], {}, *WORDS,
]  # fmt: skip
MOST_STEPS = 4


def mutated(body: bytes, *, seed: int, longest: int) -> bytes | None:
    """The body with a few things in it changed, or None where it is no JSON or has become too long."""
    dice = random.Random(seed)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for _ in range(dice.randint(1, MOST_STEPS)):
        value = _changed(value, dice)
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5)
    if dice.random() < 0.1:
        text = text.replace(
            "}", f',"{dice.choice(NAMES)}":{json.dumps(dice.choice(LEAVES))}}}', 1
        )  # perhaps twice there
    changed = text.encode("utf-8", "surrogatepass")
    return changed if len(changed) <= longest else None


def _changed(value: Any, dice: random.Random) -> Any:
    """The value with one thing in it changed, wherever that is."""
    if isinstance(value, dict) and value and dice.random() < 0.75:
        name = dice.choice(list(value))
        return {**value, name: _changed(value[name], dice)}
    if isinstance(value, list) and value and dice.random() < 0.75:
        place = dice.randrange(len(value))
        return [*value[:place], _changed(value[place], dice), *value[place + 1 :]]
    return dice.choice([_other, _wrapped, _grown, _shrunk, _repeated])(value, dice)


def _other(_: Any, dice: random.Random) -> Any:
    return dice.choice(LEAVES)


def _wrapped(value: Any, dice: random.Random) -> Any:
    return {dice.choice(NAMES): value} if dice.random() < 0.7 else [value]


def _grown(value: Any, dice: random.Random) -> Any:
    more = dice.choice(LEAVES)
    if isinstance(value, dict):
        return value | {dice.choice(NAMES): more}
    return [*value, more] if isinstance(value, list) else f"{value}{more}"


def _shrunk(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict) and value:
        gone = dice.choice(list(value))
        return {name: each for name, each in value.items() if name != gone}
    return value[:-1] if isinstance(value, list | str) else None


def _repeated(value: Any, dice: random.Random) -> Any:
    return value * dice.randint(2, 70) if isinstance(value, list | str) and len(value) < 50 else value
