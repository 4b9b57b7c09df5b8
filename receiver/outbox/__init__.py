"""Telling whoever must know: each event to each destination that wants it, at least once."""
