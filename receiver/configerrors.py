"""ConfigError: what is wrong with a configuration, naming the key, where it came from and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

from pydantic import BaseModel, ValidationError


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong. `key` is dotted; `origin` a file, a variable or the command line."""

    key: str
    origin: str
    problem: str

    def __str__(self) -> str:
        where = f" (from {self.origin})" if self.origin else ""
        return f"{self.key}{where}: {self.problem}"


class ConfigError(Exception):
    """The configuration cannot be used; the message has a line for each problem."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Origins(Protocol):
    """What a layer of configuration knows about where its keys came from."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The nested values."""

    @property
    def origins(self) -> Mapping[str, str]:
        """The origin by dotted key."""

    @property
    def origin(self) -> str:
        """The origin of all the others."""


def problems_in(error: ValidationError, model: type[BaseModel], layers: Sequence[Origins]) -> list[ConfigProblem]:
    """Pydantic's errors in the words of this project. A secret's value is never repeated."""
    return [_problem(each["loc"], each["type"], each["msg"], model, layers) for each in error.errors(include_url=False)]


def _problem(
    loc: tuple[int | str, ...], kind: str, message: str, model: type[BaseModel], layers: Sequence[Origins]
) -> ConfigProblem:
    path = [str(part) for part in loc]
    key = ".".join(path)
    origin = _origin(path, layers)
    if kind == "extra_forbidden":
        return ConfigProblem(key, origin, _unknown(path, model))
    if kind == "missing":
        in_a_list = any(part.isdigit() for part in path)  # no variable names a place in a list
        return ConfigProblem(key, origin, "is missing: set it" + ("" if in_a_list else f", or {variable(path)}"))
    return ConfigProblem(key, origin, message.removeprefix("Value error, "))


def variable(path: Iterable[str]) -> str:
    """The environment variable of a key."""
    return "HOOKLEDGER_" + "__".join(part.upper() for part in path)


def _unknown(path: list[str], model: type[BaseModel]) -> str:
    known = list(_keys(model, path[:-1]))
    nearest = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if nearest:
        return f"is no key: did you mean {'.'.join([*path[:-1], *nearest])}?"
    return f"is no key: there are {', '.join(known)}"


def _keys(model: type[BaseModel], tables: Sequence[str]) -> Iterable[str]:
    """The keys of the table at this path. A name in `providers`, or a place in a list, is passed over."""
    parts = iter(tables)
    for part in parts:
        field = model.model_fields.get(part)
        inner = None if field is None else _model_in(field.annotation)
        if field is None or inner is None:
            continue
        model = inner
        if not isinstance(field.annotation, type):
            next(parts, None)
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _origin(path: list[str], layers: Sequence[Origins]) -> str:
    """The last layer that says anything at this path, or just above it."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _says(layer.values, path[:length]):
                return _origin_in(layer, ".".join(path[:length]))
    return ""


def _origin_in(layer: Origins, key: str) -> str:
    """Where this key, or the first one below it, came from."""
    below = (origin for known, origin in layer.origins.items() if known == key or known.startswith(f"{key}."))
    return next(below, layer.origin)


def _says(values: Any, path: Sequence[str]) -> bool:
    for part in path:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False
    return True
