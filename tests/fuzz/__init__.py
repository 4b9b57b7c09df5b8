"""Any bytes at all: as a callback's body, and as what comes over a connection."""
