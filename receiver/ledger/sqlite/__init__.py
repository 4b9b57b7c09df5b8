"""The ledger in one SQLite file: one writer, WAL, `synchronous=FULL`."""

from receiver.ledger.sqlite.ledger import SqliteLedger
from receiver.ledger.sqlite.reader import SqliteReader

__all__ = ["SqliteLedger", "SqliteReader"]
