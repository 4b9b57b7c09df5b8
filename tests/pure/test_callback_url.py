"""A URL lets its holder report about one task and no other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.callback_url import mint_callback_url, token_matches, without_tokens
from tests.pure.builders import OURS

SECRET = "a secret of the receiver's own, long"
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)
NAMES = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
SECRETS = st.text(min_size=1, max_size=30)


def _token(provider: str = "cometapi", external_task_id: str = OURS, secret: str = SECRET) -> str:
    url = mint_callback_url("https://h", provider=provider, external_task_id=external_task_id, secret=secret)
    return url.rpartition("/")[2]


@pytest.mark.parametrize("public_url", ["https://hooks.example.com/base", "https://hooks.example.com/base/"])
def test_the_url_names_provider_task_and_token(public_url: str) -> None:
    url = mint_callback_url(public_url, provider="cometapi", external_task_id=OURS, secret=SECRET)

    assert re.fullmatch(rf"https://hooks\.example\.com/base/callbacks/cometapi/{OURS}/[A-Za-z0-9_-]{{24}}", url)


@given(provider=NAMES, external_task_id=IDS, secret=SECRETS)
def test_a_minted_token_matches_its_own_task(provider: str, external_task_id: str, secret: str) -> None:
    token = _token(provider, external_task_id, secret)

    assert token_matches(token, provider=provider, external_task_id=external_task_id, secrets=[secret])


@given(one=st.tuples(NAMES, IDS, SECRETS), other=st.tuples(NAMES, IDS, SECRETS))
def test_tokens_differ_for_every_provider_task_and_secret(one: tuple, other: tuple) -> None:
    assert (one == other) == (_token(*one) == _token(*other))


@pytest.mark.parametrize(
    ("provider", "external_task_id", "secret"),
    [("kling", OURS, SECRET), ("cometapi", OURS + "0", SECRET), ("cometapi", OURS, SECRET + "0")],
)
def test_a_token_opens_nothing_else(provider: str, external_task_id: str, secret: str) -> None:
    assert not token_matches(_token(), provider=provider, external_task_id=external_task_id, secrets=[secret])


@pytest.mark.parametrize("secrets", [["new", SECRET], [SECRET, "new"], [SECRET]])
def test_while_secrets_rotate_the_old_one_still_verifies(secrets: list[str]) -> None:
    assert token_matches(_token(), provider="cometapi", external_task_id=OURS, secrets=secrets)


@pytest.mark.parametrize("secrets", [[], ["new"]])
def test_a_secret_that_is_gone_verifies_nothing(secrets: list[str]) -> None:
    assert not token_matches(_token(), provider="cometapi", external_task_id=OURS, secrets=secrets)


@pytest.mark.parametrize("change", [str.upper, lambda token: token[:-1], lambda token: token + "A", lambda _: ""])
def test_a_token_is_matched_whole_and_to_the_letter(change: object) -> None:
    assert not token_matches(change(_token()), provider="cometapi", external_task_id=OURS, secrets=[SECRET])


@given(token=ANY_TEXT, provider=ANY_TEXT, external_task_id=ANY_TEXT)
def test_any_text_at_all_is_only_no_match(token: str, provider: str, external_task_id: str) -> None:
    assert not token_matches(token, provider=provider, external_task_id=external_task_id, secrets=[SECRET])


@pytest.mark.parametrize(
    "quote",
    [
        "see {}",
        "{}.",
        '{{"callback_url":"{}"}}',
        "{} and {}",
    ],
)
@pytest.mark.parametrize("slash", ["/", "\\/", "%2F", "%2f"])
def test_the_token_of_a_quoted_url_is_left_out(quote: str, slash: str) -> None:
    url = mint_callback_url("https://h/base", provider="cometapi", external_task_id=OURS, secret=SECRET)

    told = without_tokens(quote.format(*[url.replace("/", slash)] * 2))

    assert quote.format(*[(url.removesuffix(_token()) + "…").replace("/", slash)] * 2) == told


@given(text=ANY_TEXT)
def test_other_text_is_told_as_it_is(text: str) -> None:
    assert text == without_tokens(text)


def test_a_long_text_of_half_urls_is_read_in_one_go() -> None:
    """Nothing that a sender can write makes the search start over."""
    text = "callbacks/a/" * 20_000

    assert 10_000 == without_tokens(text).count("…")
