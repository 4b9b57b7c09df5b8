"""The ledger: what it is asked, and the engine that keeps it."""
