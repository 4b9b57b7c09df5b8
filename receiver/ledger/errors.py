"""What the ledger can say no to, split by what its caller may do next.

LedgerError
├── Refusal             the entry is at fault, and only this entry
│   ├── ForeignTask       the report's ids belong to another task
│   ├── Unwritable        the store cannot hold its values
│   ├── TaskExists        the id names a task with another request
│   ├── QuotaReached      its tenant has as many tasks running as it may
│   ├── AccountStopped    the provider serves this account no more, until a person has mended it
│   ├── UnknownTask       there is no such task
│   ├── UnknownDelivery   there is no such delivery, or it is under way
│   ├── KeyExists         a key of this name was made before
│   ├── UnknownKey        there is no such key
│   └── NotPossible       the task's state does not allow it
├── LedgerUnavailable   the store is in trouble: try again
│   └── Overloaded        the queue is full: try again soon
└── LedgerUnusable      a person must act; the message says how
    ├── LedgerOutdated    migrate first
    └── LedgerLocked      another receiver holds it
"""

from __future__ import annotations


class LedgerError(Exception):
    """The base of every error the ledger raises on purpose."""


class Refusal(LedgerError):
    """The entry is at fault; the others of its batch are not touched."""


class ForeignTask(Refusal):
    """The ids in a report belong to another task of this ledger."""

    def __init__(self, external_task_id: str, other: str) -> None:
        super().__init__(f"the ids in this report belong to {other}, not to {external_task_id}")


class Unwritable(Refusal):
    """A value in the entry that the store cannot hold: the culprit of a batch, found by halving it."""


class TaskExists(Refusal):
    """An external id names one task in the whole ledger, and this one was submitted with another request."""

    def __init__(self, external_task_id: str) -> None:
        super().__init__(f"{external_task_id} was submitted before with another request: choose another id")


class QuotaReached(Refusal):
    """The tenant's running tasks are as many as its key allows."""

    def __init__(self, quota: int) -> None:
        super().__init__(f"{quota} tasks are running, and this key may have no more: submit again when one is done")


class AccountStopped(Refusal):
    """The provider has refused this account's creates for trouble of the account: its own words, when it last did."""

    def __init__(self, message: str, *, code: str, http_status: int) -> None:
        super().__init__(f"the account is stopped, {code}: {message}")
        self.message = message
        self.code = code
        self.http_status = http_status


class UnknownTask(Refusal):
    """No task of this id."""

    def __init__(self, external_task_id: str) -> None:
        super().__init__(f"no task {external_task_id} in this ledger")


class UnknownDelivery(Refusal):
    """No delivery of this number, or one that is under way at this moment."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no delivery {key} that could be told anew: there is none, or it is under way")


class KeyExists(Refusal):
    """A name is one key's for good: who reads the history is never misled about whose it was."""

    def __init__(self, name: str) -> None:
        super().__init__(f"a key {name} was made before, and names are not given twice: choose another one")


class UnknownKey(Refusal):
    """No key of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no key {name} in this ledger")


class NotPossible(Refusal):
    """The task is in no state for this."""


class LedgerUnavailable(LedgerError):
    """The store did not take the entry: disk full, I/O error, locked file. Nothing was written."""


class Overloaded(LedgerUnavailable):
    """More entries wait than the queue holds. Nothing was written."""


class LedgerUnusable(LedgerError):
    """This ledger cannot be opened; the message names the fix."""


class LedgerOutdated(LedgerUnusable):
    """The database lacks migrations that this version needs."""


class LedgerLocked(LedgerUnusable):
    """Another process writes this ledger. `holder` is the address it answers at, if it has one."""

    def __init__(self, path: str, *, pid: int | None, holder: str | None) -> None:
        who = f"process {pid}" if pid else "another process"
        where = f", which answers at {holder}" if holder else ""
        super().__init__(
            f"{path} is in use by {who}{where}: two receivers on one SQLite file would corrupt it. "
            "Stop that one first, or give this one another ledger.url"
        )
        self.holder = holder
