"""Modules whose asserts explain themselves although they are no test files: named before anybody imports them."""

import pytest

_CLAIMS = ("asking", "callingback", "ending", "hearing", "keeping", "opening", "reading", "sending", "telling")

pytest.register_assert_rewrite("tests.ledger.builders", *(f"tests.ledger.claims.{each}" for each in _CLAIMS))
