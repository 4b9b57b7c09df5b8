"""Configurations for tests: written as a file, made of tables, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from receiver.config import Config, load_config
from receiver.configerrors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SECRET = "do-not-repeat-me-anywhere"


def written(text: str, name: str = "ours.toml") -> str:
    Path(name).write_text(text)
    return name


def config(*tables: Mapping[str, Any]) -> Config:
    merged: dict[str, Any] = {}
    for table in tables:
        merged |= table
    return Config.model_validate(merged)


def refusal(toml: str = "", /, *, flags: Mapping[str, Any] | None = None, **environment: str) -> str:
    """The words of the error."""
    with pytest.raises(ConfigError) as refused:
        load_config(written(toml), environment=environment, flags=flags)
    return str(refused.value)
