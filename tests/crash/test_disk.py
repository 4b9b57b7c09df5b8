"""The disk of the power cuts: what it must keep, and what it may lose, tear and misplace."""

from collections.abc import Iterable
from random import Random

from tests.crash.disk import (
    FOLDER,
    MANNERS,
    SECTOR,
    Disk,
    Opened,
    Renamed,
    Step,
    SyncBegun,
    SyncDone,
    Truncated,
    Written,
)

FILE, DIRECTORY = 1, 2
OLD, NEW = b"o" * (2 * SECTOR), b"n" * (2 * SECTOR)


def disk_after(*steps: Step, **files: bytes) -> Disk:
    disk = Disk(files)
    for step in (Opened(DIRECTORY, FOLDER, is_new=False), *steps):
        disk.take(step)
    return disk


def left_by(disk: Disk, *manners: str) -> list[dict[str, bytes]]:
    """All that cuts of these manners were seen to leave."""
    chosen: Iterable[str] = manners or MANNERS
    return [disk.after_power_cut(MANNERS[each], Random(seed)) for each in chosen for seed in range(100)]


def synced(handle: int, number: int) -> tuple[Step, Step]:
    return SyncBegun(handle, number), SyncDone(number)


OPENED = Opened(FILE, "kept", is_new=False)


def test_what_was_synced_is_kept_whatever_the_cut() -> None:
    disk = disk_after(OPENED, Written(FILE, 0, NEW), *synced(FILE, 1), kept=OLD)

    assert all({"kept": NEW} == left for left in left_by(disk))


def test_what_was_written_after_the_syncs_beginning_may_be_lost() -> None:
    disk = disk_after(OPENED, SyncBegun(FILE, 1), Written(FILE, 0, NEW), SyncDone(1), kept=OLD)

    assert {OLD, NEW} == {left["kept"] for left in left_by(disk, "any lost")}


def test_a_sync_that_has_not_returned_keeps_nothing() -> None:
    disk = disk_after(OPENED, Written(FILE, 0, NEW), SyncBegun(FILE, 1), kept=OLD)

    assert OLD in [left["kept"] for left in left_by(disk)]


def test_a_later_write_may_be_kept_and_an_earlier_one_lost() -> None:
    disk = disk_after(OPENED, Written(FILE, 0, b"1"), Written(FILE, 1, b"2"), kept=b"..")

    assert {b"..", b"1.", b".2", b"12"} == {left["kept"] for left in left_by(disk, "any lost")}


def test_a_write_is_torn_between_sectors_only() -> None:
    disk = disk_after(OPENED, Written(FILE, 0, NEW), kept=OLD)
    half, other = OLD[:SECTOR] + NEW[SECTOR:], NEW[:SECTOR] + OLD[SECTOR:]

    assert {OLD, NEW, half, other} == {left["kept"] for left in left_by(disk, "any torn")}


def test_where_a_file_grew_there_may_be_zeros_or_garbage() -> None:
    disk = disk_after(OPENED, Written(FILE, 0, b"n" * SECTOR), Written(FILE, SECTOR, b"n" * SECTOR), kept=b"")
    grown = {left["kept"][:SECTOR] for left in left_by(disk, "any lost") if len(left["kept"]) > SECTOR}

    assert {b"n" * SECTOR, bytes(SECTOR)} < grown


def test_a_truncation_may_be_lost_until_it_is_synced() -> None:
    cut_short = disk_after(OPENED, Truncated(FILE, 0), kept=OLD)
    for_good = disk_after(OPENED, Truncated(FILE, 0), *synced(FILE, 1), kept=OLD)

    assert {OLD, b""} == {left["kept"] for left in left_by(cut_short)}
    assert {b""} == {left["kept"] for left in left_by(for_good)}


def test_a_new_files_name_is_kept_once_its_folder_was_synced() -> None:
    made = (Opened(FILE, "new", is_new=True), Written(FILE, 0, NEW), *synced(FILE, 1))
    nameless, named = disk_after(*made), disk_after(*made, *synced(DIRECTORY, 2))

    assert [{}, {"new": NEW}] == sorted(left_by(nameless, "all lost")[:1] + left_by(nameless, "all kept")[:1], key=len)
    assert all({"new": NEW} == left for left in left_by(named))


def test_a_removed_file_may_be_there_again_until_its_folder_was_synced() -> None:
    removed, for_good = (
        disk_after(Renamed("kept", None), kept=OLD),
        disk_after(Renamed("kept", None), *synced(DIRECTORY, 1), kept=OLD),
    )

    assert {0, 1} == {len(left) for left in left_by(removed)}
    assert {0} == {len(left) for left in left_by(for_good)}


def test_a_renaming_happens_wholly_or_not_at_all() -> None:
    disk = disk_after(Renamed("one", "other"), one=NEW, other=OLD)
    seen = [tuple(sorted(left.items())) for left in left_by(disk)]

    assert {(("one", NEW), ("other", OLD)), (("other", NEW),)} == set(seen)
    assert {"other": NEW} == disk.seen()
