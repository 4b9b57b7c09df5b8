"""The options that many commands share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from receiver.config import Config, load_config

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", help="The configuration file (else HOOKLEDGER_CONFIG, else config.toml).", metavar="FILE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def load(context: typer.Context, path: str | None, flags: Mapping[str, Any] | None = None) -> Config:
    """The configuration in force; `--config` may stand before the command or behind it. Raises ConfigError."""
    return load_config(path or context.obj, environment=os.environ, flags=flags)
