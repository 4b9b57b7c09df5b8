"""Modules whose asserts explain themselves although they are no test files: named before anybody imports them."""

import pytest

pytest.register_assert_rewrite("tests.ledger.builders", "tests.ledger.claims")
