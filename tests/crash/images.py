"""Images of a disk: the ledger's files as a crash left them, opened by the real ledger code."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from receiver.ledger.errors import LedgerUnusable
from receiver.ledger.sqlite import SqliteLedger
from tests.crash.book import Book
from tests.crash.checks import Finding, Kind, examine

LEDGER = "ledger.db"
# Rebuilt by whoever opens the database first after a crash (SQLite's file format, §4.4), and the lock of processes.
_NOT_KEPT = ("-shm", ".lock")
_NOW = 1_900_000_000_000


def is_kept(name: str) -> bool:
    """Whether what is in a file of this name matters after a crash."""
    return not name.endswith(_NOT_KEPT)


def read_files(folder: Path) -> dict[str, bytes]:
    """What is there."""
    return {each.name: each.read_bytes() for each in folder.iterdir() if is_kept(each.name)}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """A new folder with these files."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


async def examine_image(folder: Path, files: Mapping[str, bytes], book: Book) -> list[Finding]:
    """What is wrong after the ledger was opened, which recovers, migrates and sweeps as in any start.

    The new folder is removed if nothing is, else kept to be looked at.
    """
    await asyncio.to_thread(write_files, folder, files)
    try:
        ledger = await SqliteLedger.open(folder / LEDGER, now=_NOW)
    except LedgerUnusable as error:
        return [Finding(Kind.BROKEN, str(error))]
    try:
        findings = await asyncio.to_thread(examine, folder / LEDGER, book)
    finally:
        await ledger.aclose()
    if not findings:
        await asyncio.to_thread(shutil.rmtree, folder)
    return findings
