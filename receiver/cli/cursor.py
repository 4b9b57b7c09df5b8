"""The file in which `listen` remembers how far each app was told, and the secret it signs with."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from receiver.cli.output import MISUSED, CommandError

FORMAT = 1


class CursorFile:
    """Positions by the ledger's name and the app's URL. Whoever writes it reads it first, under a lock beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def position(self, source: str, forward: str) -> int | None:
        """How far this app was told of this ledger, None where it never was. Raises CommandError."""
        position: int | None = self._read()["positions"].get(source, {}).get(forward)
        return position

    def keep(self, source: str, forward: str, position: int) -> None:
        """The app has everything up to here. Raises CommandError."""

        def kept(cursors: dict[str, Any]) -> None:
            cursors["positions"].setdefault(source, {})[forward] = position

        self._change(kept)

    def secret(self) -> tuple[str, bool]:
        """The secret to sign with, and whether it was made just now. Raises CommandError."""
        known: str | None = self._read().get("secret")
        if known is not None:
            return known, False
        minted = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

        def kept(cursors: dict[str, Any]) -> None:
            cursors.setdefault("secret", minted)

        secret: str = self._change(kept)["secret"]
        return secret, secret == minted

    def _change(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        try:
            with self._locked():
                cursors = self._read()
                change(cursors)
                self._write(json.dumps(cursors, indent=2) + "\n")
        except OSError as error:
            raise CommandError(f"{self.path} cannot be written ({error.strerror}): name another --cursor") from error
        return cursors

    def _read(self) -> dict[str, Any]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {"format": FORMAT, "positions": {}}
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{self.path} cannot be read ({error}): name another --cursor", code=MISUSED) from error
        try:
            cursors = json.loads(text)
        except ValueError:
            cursors = None
        if not _is_sound(cursors):
            raise CommandError(
                f"{self.path} holds no cursors: remove it, and begin with --after where the app has seen the rest",
                code=MISUSED,
            )
        sound: dict[str, Any] = cursors
        return sound

    def _write(self, text: str) -> None:
        """In one step, and on the disk before the app is told of the next event."""
        beside = self.path.with_name(f"{self.path.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(self.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Not on the file itself, which is another one after each change."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _is_sound(cursors: Any) -> bool:
    return (
        isinstance(cursors, dict)
        and cursors.get("format") == FORMAT
        and isinstance(cursors.get("secret", ""), str)
        and isinstance(cursors.get("positions"), dict)
        and all(isinstance(apps, dict) for apps in cursors["positions"].values())
        and all(type(position) is int for apps in cursors["positions"].values() for position in apps.values())
    )
