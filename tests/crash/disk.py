"""A disk that keeps what it was told to sync, and of everything else what it likes. Pure.

What is assumed of it, and no more:

- Once fsync or fdatasync of a file has returned, everything written to the file before it is kept.
- Of each later write every sector of 512 bytes is kept or lost by itself, whatever became of writes before or after
  it; no sector mixes old and new, and no other sector is touched (SQLite's "powersafe overwrite").
- Where a file grew and its new sectors were lost, there are zeros or garbage.
- A later truncation is kept or lost.
- A file's name is made, removed or changed for good only once the folder was synced after it. Syncing the file itself
  does not keep its name, although most file systems do that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import TypeAlias

SECTOR = 512
FOLDER = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file of this name, or the folder itself, is from now on meant by this handle."""

    handle: int
    name: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes written through a handle."""

    handle: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A size set through a handle."""

    handle: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncBegun:
    """A sync of the handle's file, or of the folder, has begun."""

    handle: int
    number: int


@dataclass(frozen=True, slots=True)
class SyncDone:
    """The sync of this number has returned, and without an error."""

    number: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """A name given up, for another or for none."""

    name: str
    to: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """The server begins to send these bytes to this port."""

    port: int
    content: bytes


Step: TypeAlias = Opened | Written | Truncated | SyncBegun | SyncDone | Renamed | Sent


class Fate(Enum):
    """What becomes of a change that was not synced."""

    LOST = auto()
    KEPT = auto()
    TORN = auto()


Manner: TypeAlias = Callable[[Random], Fate]
MANNERS: Mapping[str, Manner] = {
    "all lost": lambda _: Fate.LOST,
    "all kept": lambda _: Fate.KEPT,
    "any lost": lambda dice: dice.choice((Fate.LOST, Fate.KEPT)),
    "most lost": lambda dice: dice.choices((Fate.LOST, Fate.KEPT, Fate.TORN), (8, 1, 1))[0],
    "few lost": lambda dice: dice.choices((Fate.LOST, Fate.KEPT, Fate.TORN), (1, 8, 1))[0],
    "any torn": lambda dice: dice.choice(tuple(Fate)),
}


class Disk:
    """Steps in; at any moment, what a power cut may leave. `files` is what is on it for good at the beginning."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._names = {name: _File(content) for name, content in files.items()}  # as programs see them
        self._kept_names = dict(self._names)
        self._pending_names: list[dict[str, _File | None]] = []
        self._absorbed_names = 0
        self._opened: dict[int, _File | None] = {}  # None is the folder
        self._syncs: dict[int, tuple[_File | None, int]] = {}

    def take(self, step: Step) -> None:
        """Go on by one step."""
        match step:
            case Opened():
                self._opened[step.handle] = None if step.name == FOLDER else self._open(step.name, is_new=step.is_new)
            case Written() | Truncated():
                self._file(step.handle).changes.append(step)
            case SyncBegun():
                file = self._opened[step.handle]
                self._syncs[step.number] = (file, self._names_taken() if file is None else file.taken)
            case SyncDone():
                self._sync(*self._syncs.pop(step.number))
            case Renamed():
                self._rename(step.name, step.to)
            case Sent():
                pass

    def seen(self) -> dict[str, bytes]:
        """The files as programs see them now, with nothing lost."""
        return {name: file.after(lambda _: Fate.KEPT, Random(0), garbage=None) for name, file in self._names.items()}

    def after_power_cut(self, manner: Manner, dice: Random) -> dict[str, bytes]:
        """The files as a power cut at this moment may leave them."""
        names: dict[str, _File | None] = dict(self._kept_names)
        for change in self._pending_names:
            if manner(dice) is not Fate.LOST:
                names.update(change)
        garbage = dice.randbytes(SECTOR) if dice.random() < 0.5 else None
        return {name: file.after(manner, dice, garbage=garbage) for name, file in names.items() if file is not None}

    def _open(self, name: str, *, is_new: bool) -> _File:
        if is_new:
            self._name({name: _File(b"")})
        return self._names[name]

    def _rename(self, name: str, to: str | None) -> None:
        file = self._names.get(name)
        if file is not None:
            self._name({name: None} if to is None else {name: None, to: file})

    def _name(self, change: dict[str, _File | None]) -> None:
        self._pending_names.append(change)
        _apply(self._names, change)

    def _file(self, handle: int) -> _File:
        file = self._opened[handle]
        if file is None:
            raise ValueError("bytes were written to a folder: this is no recording")
        return file

    def _names_taken(self) -> int:
        return self._absorbed_names + len(self._pending_names)

    def _sync(self, file: _File | None, taken: int) -> None:
        if file is not None:
            file.keep(taken)
            return
        while self._absorbed_names < taken:
            _apply(self._kept_names, self._pending_names.pop(0))
            self._absorbed_names += 1


class _File:
    """What is on the disk of a file for good, and the changes since."""

    def __init__(self, content: bytes) -> None:
        self.changes: list[Written | Truncated] = []
        self._kept = bytearray(content)
        self._absorbed = 0

    @property
    def taken(self) -> int:
        """How many changes there have been."""
        return self._absorbed + len(self.changes)

    def keep(self, taken: int) -> None:
        """The first `taken` changes are there for good."""
        count = max(0, taken - self._absorbed)
        for change in self.changes[:count]:
            _change(self._kept, change)
        del self.changes[:count]
        self._absorbed += count

    def after(self, manner: Manner, dice: Random, *, garbage: bytes | None) -> bytes:
        """Its content, where each change since the last sync has met a fate of its own."""
        content = bytearray(self._kept)
        for change in self.changes:
            fate = manner(dice)
            if fate is Fate.KEPT or (fate is Fate.TORN and isinstance(change, Truncated)):
                _change(content, change, garbage)
            elif fate is Fate.TORN and isinstance(change, Written):
                for part in _sectors(change):
                    if dice.random() < 0.5:
                        _change(content, part, garbage)
        return bytes(content)


def _apply(names: dict[str, _File], change: Mapping[str, _File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _sectors(write: Written) -> list[Written]:
    parts = []
    at, end = write.offset, write.offset + len(write.content)
    while at < end:
        until = min(end, (at // SECTOR + 1) * SECTOR)
        parts.append(Written(write.handle, at, write.content[at - write.offset : until - write.offset]))
        at = until
    return parts


def _change(content: bytearray, change: Written | Truncated, garbage: bytes | None = None) -> None:
    if isinstance(change, Truncated):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    gap = change.offset - len(content)
    if gap > 0:
        filler = bytes(SECTOR) if garbage is None else garbage
        content.extend((filler * (gap // SECTOR + 1))[:gap])
    content[change.offset : change.offset + len(change.content)] = change.content
