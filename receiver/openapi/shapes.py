"""The words of JSON Schema that the document is written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from submitter.ids import EXTERNAL_ID

Json: TypeAlias = dict[str, Any]

LARGEST = 10**18 - 1  # positions and keys have 18 digits at most


def text(description: str, *, pattern: str | None = None, longest: int | None = None) -> Json:
    """A string."""
    limits = {"pattern": pattern, "maxLength": longest}
    return {"type": "string", "description": description} | {
        name: limit for name, limit in limits.items() if limit is not None
    }


def whole(description: str, *, least: int = 0, most: int | None = None, otherwise: int | None = None) -> Json:
    """A whole number. `otherwise` is what is meant where it is left out."""
    limits = {"minimum": least, "maximum": most, "default": otherwise}
    return {"type": "integer", "description": description} | {
        name: limit for name, limit in limits.items() if limit is not None
    }


def seconds(description: str, *, most: float, otherwise: float | None = None) -> Json:
    """A number of seconds, with fractions."""
    limits: Json = {"minimum": 0, "maximum": most}
    return {"type": "number", "description": description, **limits} | (
        {} if otherwise is None else {"default": otherwise}
    )


def yes_or_no(description: str) -> Json:
    """A boolean."""
    return {"type": "boolean", "description": description}


def moment(description: str) -> Json:
    """A time as all JSON of this project writes it."""
    pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"
    return {"type": "string", "format": "date-time", "pattern": pattern, "description": description}


def closed(words: type[StrEnum] | Iterable[str], description: str) -> Json:
    """One of a closed set of words."""
    return {"type": "string", "enum": [str(word) for word in words], "description": description}


def external_task_id(description: str) -> Json:
    """Our id of a task."""
    return text(description, pattern=f"^{EXTERNAL_ID.pattern}$")


def or_null(schema: Json) -> Json:
    """The same, or null."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    return nullable | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def base64_text(description: str) -> Json:
    """Bytes as text."""
    pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
    return {**text(description, pattern=pattern), "contentEncoding": "base64"}


def cursor() -> Json:
    """Where a page begins."""
    return text("`next` of the page before", pattern="^[0-9]{1,18}$")


def listed(items: Json, description: str) -> Json:
    """An array."""
    return {"type": "array", "items": items, "description": description}


def named(name: str) -> Json:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def answered(description: str, fields: Mapping[str, Json], *, optional: Mapping[str, Json] | None = None) -> Json:
    """An object that we write. It may get more fields in time: whoever reads it leaves alone what it does not know."""
    return {
        "type": "object",
        "description": description,
        "required": list(fields),
        "properties": {**fields, **(optional or {})},
    }


def taken(description: str, fields: Mapping[str, Json], *, optional: Mapping[str, Json] | None = None) -> Json:
    """An object that we read. A field that we do not know is an error."""
    return {**answered(description, fields, optional=optional), "additionalProperties": False}
