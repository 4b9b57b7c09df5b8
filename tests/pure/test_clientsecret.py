"""The secret that each tenant verifies its callbacks with."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.clientsecret import client_secret
from submitter.signatures import key_of

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


def test_it_is_derived_as_documented() -> None:
    key = hmac.new(key_of(SECRET), b"hookledger client\0acme", hashlib.sha256).digest()

    assert "whsec_" + base64.b64encode(key).decode() == client_secret(SECRET, "acme")


def test_the_operators_is_the_configured_one() -> None:
    assert SECRET == client_secret(SECRET, "")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_no_two_tenants_share_one(one: str, other: str) -> None:
    assert (one == other) == (client_secret(SECRET, one) == client_secret(SECRET, other))
    assert 32 == len(key_of(client_secret(SECRET, one)))


def test_what_is_no_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        client_secret("whsec_!", "acme")
