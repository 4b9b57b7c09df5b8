"""What the destination of a client's callback_url is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.origins import BEYOND_CLIENTS, CLIENTS, client_destination, is_clients, label_of, tenant_of

TENANTS = st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/hook/secret?token=secret#secret", "@https://app.example.com:443"),
        ("HTTPS://APP.Example.com", "@https://app.example.com:443"),
        ("https://app.example.com:8443/", "@https://app.example.com:8443"),
        ("http://127.0.0.1/", "@http://127.0.0.1:80"),
        ("https://[::1]:99/", "@https://[::1]:99"),
        ("https://secret:secret@app.example.com/", "@https://app.example.com:443"),
    ],
)
def test_it_is_the_origin_and_nothing_that_may_be_secret(url: str, origin: str) -> None:
    assert origin == client_destination(url, tenant="")


@pytest.mark.parametrize(
    "url",
    ["", "hook", "ftp://h/", "https:///x", "https://h:port/", "https://[h/", "https://" + "h" * 254, "https://h\x7f/"],
)
def test_a_url_without_one_leads_nowhere(url: str) -> None:
    assert "@acme@nowhere" == client_destination(url, tenant="acme")


@given(TENANTS, st.text(max_size=30))
def test_each_tenants_are_its_own_whatever_the_url(tenant: str, text: str) -> None:
    name = client_destination(f"https://{text}", tenant=tenant)

    assert tenant == tenant_of(name)
    assert is_clients(name)
    assert CLIENTS <= name < BEYOND_CLIENTS


def test_they_are_counted_as_one_and_configured_ones_as_themselves() -> None:
    assert ("@", "app") == (label_of("@acme@https://h:443"), label_of("app"))
    assert not is_clients("app")
