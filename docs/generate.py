"""Writes the pages that are made from the code, or (`--check`) says which are not what the code says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from receiver.config import Config
from receiver.configdestinations import DestinationConfig
from receiver.lifecycle import STIMULI, TRANSITIONS
from receiver.metrics import FAMILIES
from receiver.problems import CODES
from receiver.task import AT_REST, SETTLED, Doubt, TaskState
from sandbox import FaultPlan
from submitter.settings import Flags, ProviderSettings, SpendingLimits, show_duration

ROOT = Path(__file__).parent.parent
MADE = "<!-- made by `make docs` from the code: edit the code instead -->\n\n"


def pages() -> dict[Path, str]:
    """Every made page with its text."""
    return {
        ROOT / "docs" / "states.md": states_page(),
        ROOT / "docs" / "errors.md": errors_page(),
        ROOT / "docs" / "metrics.md": metrics_page(),
        ROOT / "docs" / "configuration.md": configuration_page(),
        ROOT / "docs" / "sandbox.md": sandbox_page(),
        ROOT / "config.example.toml": example_config(),
        ROOT / "README.md": readme(),
    }


def states_page() -> str:
    """The lifecycle: the table, the picture, the doubts."""
    header = "| state | " + " | ".join(str(stimulus) for stimulus in STIMULI) + " |\n"
    rule = "|---|" + "---|" * len(STIMULI) + "\n"
    rows = "".join(
        f"| **{state}** | " + " | ".join(str(TRANSITIONS[state].get(each, "·")) for each in STIMULI) + " |\n"
        for state in TaskState
    )
    edges = sorted({(state, target) for state, row in TRANSITIONS.items() for target in row.values()})
    picture = "".join(f"    {state} --> {target}\n" for state, target in edges)
    doubts = "".join(f"- `{doubt}`\n" for doubt in Doubt)
    return (
        f"# States\n\n{MADE}"
        f"Settled: {_named(SETTLED)}. At rest: {_named(AT_REST)}. A dot changes nothing: such a report is a duplicate, "
        "stale, or (an opposite final) a conflict.\n\n"
        f"{header}{rule}{rows}\n```mermaid\nstateDiagram-v2\n    [*] --> pending\n{picture}```\n\n"
        "A final that was known by URL token alone is overturned, once, by proof that says the opposite "
        "(`task.conflict`, then the true final). A final in doubt is held: the task shows `processing` until a query "
        f"has answered. The doubts:\n\n{doubts}"
    )


def errors_page() -> str:
    """The codes."""
    rows = "".join(f"| `{name}` | {code.status} | {code.meaning} |\n" for name, code in sorted(CODES.items()))
    return (
        f"# Error codes\n\n{MADE}"
        "Errors are RFC 9457 problem documents (`application/problem+json`) with `type`, `title`, `status`, `detail` "
        f"and a `code` that stays what it is:\n\n| code | status | meaning |\n|---|---|---|\n{rows}"
    )


def metrics_page() -> str:
    """What /metrics shows."""
    rows = "".join(
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.meaning} |\n"
        for each in FAMILIES
    )
    return (
        f"# Metrics\n\n{MADE}"
        "`GET /metrics` in Prometheus' text format, counted in memory since the process began. It is for operators' "
        "keys with the scope `read` (docs/keys.md; without `api.keys`, for this machine too), or for everybody where "
        "`metrics.public` is true. No label holds a token, an id, a path or anything else that a stranger chose.\n\n"
        f"| metric | kind | labels | meaning |\n|---|---|---|---|\n{rows}"
    )


def configuration_page() -> str:
    """Every key."""
    return (
        f"# Configuration\n\n{MADE}"
        "`--config FILE`, else `HOOKLEDGER_CONFIG`, else `config.toml` if it is there; the environment goes over the "
        "file, the command line over both. `polling.interval` is `HOOKLEDGER_POLLING__INTERVAL` in the environment; a "
        "list is written with commas or as JSON; any value may come from a file, `HOOKLEDGER_API__KEYS_FILE`. "
        "`PORT` (then the host is 0.0.0.0) and `DATABASE_URL` are understood. A key that nobody knows is an error.\n\n"
        f"{_table(Config)}\n## `[providers.NAME]`\n\n{_provider_table()}\n"
        f"## `[[destinations]]`\n\n{_destination_table()}"
    )


def sandbox_page() -> str:
    """The sandbox's troubles."""
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in FaultPlan.describe().items())
    return (
        f"# The sandbox\n\n{MADE}"
        "`hookledger sandbox` plays Kling, CometAPI and PowerTokens on one port, with real PNG images, callbacks and, "
        "if asked, bad days. It shares no code with the rest: it is what an app can be tried against without an "
        "account.\n\n"
        "```console\n$ hookledger sandbox --port 8090 --pace 0.1 --faults drop=0.2,duplicate=0.1 --seed 3\n```\n\n"
        "The base URLs are `http://127.0.0.1:8090/kling`, `…/cometapi` and `…/powertokens`. A prompt may say what "
        "befalls its task, whatever the rates: `a cat [[drop]]`, `[[duplicate,reorder]]`, `[[fail: reason]]`, "
        "`[[seconds=2]]`. `GET /sandbox/counts`, `/sandbox/tasks` and `/sandbox/requests` tell what really happened. "
        "PowerTokens wraps its query answers, as is inferred; `--powertokens-plain` has it answer as is documented. "
        "It has no keys of its own and belongs on loopback.\n\n"
        f"| trouble | what happens |\n|---|---|\n{rows}"
    )


def example_config() -> str:
    """Every key at its default; accounts and destinations, which have none, as comments."""
    lines = [
        "# Every key with its default; what is commented out has none. Made by `make docs` from receiver/config.py.",
        "# Any key may come from the environment instead: HOOKLEDGER_POLLING__INTERVAL, HOOKLEDGER_API__KEYS_FILE, …",
        "",
    ]
    tables: list[str] = []
    for name, field in Config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            tables += ["", f"[{name}]", *_lines(type(default))]
        elif field.description:
            lines.append(f"{name} = {_toml(default)}  # {field.description}")
    accounts = """
# [providers.cometapi]
# kind = "cometapi"
# api_key = "…"
# confirm = "doubt"  # never, doubt or terminal: which finals heard by URL token alone are confirmed by asking

# [providers.kling]
# kind = "kling"
# access_key = "…"  # or api_key
# secret_key = "…"
# webhook_secrets = ["whsec_…"]
# require_signature = false

# [providers.powertokens]
# kind = "powertokens"
# api_key = "…"
# slots = 5  # images in flight at once

# [[destinations]]  # docs/destinations.md
# name = "app"
# kind = "webhook"
# url = "https://app.example.com/hooks"
# secret = "whsec_…"
# events = ["task.succeeded", "task.failed"]
# private = false"""
    return "\n".join([*lines, *tables, accounts]) + "\n"


def readme() -> str:
    """The README with its configuration table made anew."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- configuration: made by `make docs` -->\n", "<!-- configuration ends -->"
    before, found, rest = text.partition(begin)
    if not found:
        return text
    return f"{before}{begin}{_table(Config)}{end}{rest.partition(end)[2]}"


def main() -> int:
    """Write the pages, or name those that differ."""
    is_check = "--check" in sys.argv[1:]
    differing = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in differing:
        if is_check:
            print(f"{path.relative_to(ROOT)} is not what the code says: run 'make docs'", file=sys.stderr)  # noqa: T201
        else:
            path.write_text(pages()[path], encoding="utf-8")
    return int(is_check and bool(differing))


def _lines(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{name} = {_toml(field.get_default(call_default_factory=True))}  # {field.description}"


def _table(model: type[BaseModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            rows += [
                f"| `{name}.{inner}` | `{_toml(each.get_default(call_default_factory=True))}` | {each.description} |\n"
                for inner, each in type(default).model_fields.items()
            ]
        elif field.description:
            rows.append(f"| `{name}` | `{_toml(default)}` | {field.description} |\n")
    return "| key | default | meaning |\n|---|---|---|\n" + "".join(rows)


def _provider_table() -> str:
    rows = [
        f"| `{name}` | {_shown(field.default)} | {field.description or ''} |\n"
        for name, field in ProviderSettings.model_fields.items()
        if name not in {"flags", "limits"}
    ]
    rows += [
        f"| `limits.{name}` | | {field.description or ''} |\n" for name, field in SpendingLimits.model_fields.items()
    ]
    flags = [
        f"| `flags.{name}` | the adapter's own | {field.description or ''} |\n"
        for name, field in Flags.model_fields.items()
    ]
    return "| key | default | meaning |\n|---|---|---|\n" + "".join(rows + flags)


def _destination_table() -> str:
    rows = [
        f"| `{name}` | {_shown(field.default)} | {field.description or ''} |\n"
        for name, field in DestinationConfig.model_fields.items()
    ]
    return "| key | default | meaning |\n|---|---|---|\n" + "".join(rows)


def _shown(default: Any) -> str:
    return "" if default in (None, PydanticUndefined) else f"`{_toml(default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return f'"{show_duration(value)}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _named(states: frozenset[TaskState]) -> str:
    return ", ".join(f"`{state}`" for state in TaskState if state in states)


if __name__ == "__main__":
    sys.exit(main())
