"""Modules whose asserts explain themselves although they are no test files: named before anybody imports them; and
what hypothesis is to think of a slow machine."""

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.ledger.builders", "tests.ledger.claims")

# How long an example takes says more about the machine than about the code.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
