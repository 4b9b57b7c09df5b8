"""Changed copies of frozen values, at the cost of copying a dictionary. Pure.

`dataclasses.replace` reads and sets every field one by one: for a task of thirty fields, changed five times on
its way to a verdict, that was most of what a callback cost (docs/decisions.md, "What a callback costs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")


def made(kind: type[T], fields: dict[str, Any]) -> T:
    """A frozen dataclass without slots of these fields, all of them: the dictionary becomes its own."""
    value = object.__new__(kind)
    object.__setattr__(value, "__dict__", fields)  # frozen: its own way in is closed
    return value


if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - the type checker knows its fields
else:

    def replace(value: T, /, **changes: Any) -> T:
        """As dataclasses.replace, for a dataclass without slots, default factories and `__post_init__`."""
        return made(type(value), value.__dict__ | changes)
