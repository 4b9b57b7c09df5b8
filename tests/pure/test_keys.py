"""Keys: what is kept of them, the pair's secret, and signed tokens, judged beside a library that others use."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.callback_url import mint_callback_url
from receiver.keyring import Keyring
from receiver.keys import (
    OPERATOR,
    Access,
    KeyKind,
    Scope,
    StoredKey,
    digest_of,
    mint_access_key,
    mint_bearer,
    pair_secret,
)
from receiver.pairtoken import LEEWAY, LONGEST_TOKEN, KeyRefused, Trouble, read_token, require_valid
from submitter.providers.kling import signed_token
from tests.ledger.builders import NOW, SECOND

RANDOM = bytes(range(32))
SERVER = "a server secret of enough characters"
EARLIER = "the server secret that was before it"
ACCESS_KEY = mint_access_key(RANDOM)
SECRET = pair_secret(ACCESS_KEY, SERVER)
SECONDS = NOW // SECOND
CLAIMS = {"iss": ACCESS_KEY, "exp": SECONDS + 1_800, "nbf": SECONDS - 5}
TENANT = Access(name="shop", tenant="shop", scopes=frozenset(Scope))


class Nowhere:
    """A ledger that is not asked."""

    async def add_key(self, key: StoredKey) -> StoredKey:
        return key

    async def keys(self) -> list[StoredKey]:
        return []

    async def revoke_key(self, name: str, *, now: int) -> StoredKey:
        return stored(name, revoked_at=now)


def stored(name: str, *, random: bytes = RANDOM, revoked_at: int | None = None) -> StoredKey:
    access = Access(name=name, tenant=name, scopes=frozenset(Scope))
    digest = digest_of(mint_bearer(random))
    return StoredKey(access=access, kind=KeyKind.BEARER, created_at=NOW, digest=digest, revoked_at=revoked_at)


def keyring(*keys: StoredKey, secrets: tuple[str, ...] = (SERVER,), operators: tuple[str, ...] = ()) -> Keyring:
    return Keyring(Nowhere(), keys, operator_keys=operators, server_secrets=secrets)


def pair() -> StoredKey:
    return StoredKey(access=TENANT, kind=KeyKind.PAIR, created_at=NOW, access_key=ACCESS_KEY)


def token(claims: Mapping[str, Any], *, secret: str = SECRET, header: Mapping[str, Any] | None = None) -> str:
    """Made by hand, so that anything can be said in it."""
    signed = f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    return f"{signed}.{base64url(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def part(value: Any) -> str:
    return base64url(json.dumps(value).encode())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def trouble_with(presented: str, *, now: int = NOW, ring: Keyring | None = None) -> Trouble:
    with pytest.raises(KeyRefused) as refused:
        (ring or keyring(pair())).holder_of(f"Bearer {presented}", now=now)
    assert presented not in str(refused.value)
    return refused.value.trouble


def test_a_bearer_key_is_its_prefix_and_all_of_the_random_bytes() -> None:
    key = mint_bearer(RANDOM)

    assert "hlk_" + base64url(RANDOM) == key
    assert hashlib.sha256(key.encode()).digest() == digest_of(key)


def test_too_few_random_bytes_make_no_key() -> None:
    with pytest.raises(ValueError, match="can be guessed"):
        mint_bearer(RANDOM[:31])


def test_a_pairs_secret_is_made_of_its_access_key_and_a_server_secret() -> None:
    mac = hmac.new(SERVER.encode(), b"hookledger pair\0" + ACCESS_KEY.encode(), hashlib.sha256)

    assert ACCESS_KEY.startswith("hla_")
    assert base64url(mac.digest()) == SECRET
    assert SECRET != pair_secret(ACCESS_KEY, EARLIER)


def test_no_callback_url_gives_a_pairs_secret_away() -> None:
    """The same server secret mints both."""
    url = mint_callback_url("https://x", provider="hookledger pair", external_task_id=ACCESS_KEY, secret=SERVER)

    assert SECRET[:24] not in url


def test_what_klings_own_recipe_signs_opens() -> None:
    access = keyring(pair()).holder_of(f"Bearer {signed_token(ACCESS_KEY, SECRET, now=NOW)}", now=NOW)

    assert TENANT == access


@pytest.mark.parametrize("claims", [CLAIMS, CLAIMS | {"exp": SECONDS + 0.5}, {"iss": ACCESS_KEY, "exp": SECONDS + 9}])
def test_what_the_library_of_others_signs_opens(claims: dict[str, Any]) -> None:
    made = jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "JWT"})

    assert TENANT == keyring(pair()).holder_of(f"bearer {made}", now=NOW)


def test_after_a_rotation_both_server_secrets_verify_and_once_the_earlier_is_gone_only_the_new_one() -> None:
    earlier = signed_token(ACCESS_KEY, pair_secret(ACCESS_KEY, EARLIER), now=NOW)

    assert TENANT == keyring(pair(), secrets=(SERVER, EARLIER)).holder_of(f"Bearer {earlier}", now=NOW)
    assert Trouble.WRONG is trouble_with(earlier)
    assert SECRET == keyring(secrets=(SERVER, EARLIER)).secret_of(ACCESS_KEY)


@pytest.mark.parametrize(
    ("ahead", "trouble"),
    [
        (-(LEEWAY + 6), Trouble.NOT_YET_VALID),
        (-(LEEWAY + 5), None),
        (0, None),
        (1_800 + LEEWAY - 0.001, None),
        (1_800 + LEEWAY, Trouble.EXPIRED),
    ],
)
def test_a_token_opens_from_its_nbf_to_its_exp_with_thirty_seconds_to_either_side(
    ahead: float, trouble: Trouble | None
) -> None:
    now = NOW + int(ahead * SECOND)

    if trouble is None:
        assert TENANT == keyring(pair()).holder_of(f"Bearer {token(CLAIMS)}", now=now)
    else:
        assert trouble is trouble_with(token(CLAIMS), now=now)


@pytest.mark.parametrize(
    "made",
    [
        token(CLAIMS, header={"alg": "none"}),
        token(CLAIMS, header={"alg": "HS512"}),
        token(CLAIMS, header={"alg": "hs256"}),
        token(CLAIMS, header={"typ": "JWT"}),
        token(CLAIMS, header={"alg": "HS256", "crit": ["exp"]}),
        token({"iss": ACCESS_KEY}),
        token({"exp": SECONDS + 9}),
        token(CLAIMS | {"iss": [ACCESS_KEY]}),
        *(
            token(CLAIMS | {name: value})
            for name in ("exp", "nbf")
            for value in (True, "1", None, -1, 10**400, float("nan"), float("inf"), [])
        ),
        f"{part({'alg': 'HS256'})}.{base64url(b'[]')}.AA",
        f"{part({'alg': 'HS256'})}.{base64url(b'{')}.AA",
        f"{part({'alg': 'HS256'})}.%%%.AA",
        f"{part({'alg': 'HS256'})}.{base64url(b'[' * 500)}.AA",
        token(CLAIMS) + "=====",
        "..",
        "a.b.ü",
    ],
)
def test_what_is_no_token_of_ours_to_read_is_malformed(made: str) -> None:
    assert Trouble.MALFORMED is trouble_with(made)


@pytest.mark.parametrize(
    "made",
    [
        token(CLAIMS, secret="another secret"),
        token(CLAIMS, secret=""),
        token(CLAIMS).rpartition(".")[0] + ".",
        token(CLAIMS | {"iss": "hla_nobody"}),
        token(CLAIMS | {"more": "x" * LONGEST_TOKEN}),
        mint_bearer(bytes(32)),
        "sk-of-a-provider",
    ],
)
def test_a_key_that_nobody_has_is_wrong(made: str) -> None:
    assert Trouble.WRONG is trouble_with(made)


def test_a_bad_signature_is_wrong_whenever_it_comes() -> None:
    """Who cannot sign is not told of the clock."""
    forged = token(CLAIMS, secret="another secret")

    assert [Trouble.WRONG] * 2 == [trouble_with(forged, now=NOW + ahead) for ahead in (-(10**9), 10**9)]


@pytest.mark.parametrize("header", ["", " ", "Bearer", "Bearer  ", "bearer"])
def test_no_key_is_empty(header: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        keyring().holder_of(header, now=NOW)

    assert (Trouble.EMPTY, False) == (refused.value.trouble, refused.value.is_ours)


@pytest.mark.parametrize("presented", [ACCESS_KEY, mint_bearer(bytes(32)), token(CLAIMS | {"iss": "hla_nobody"})])
def test_what_says_that_we_made_it_is_refused_as_ours(presented: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        keyring().holder_of(f"Bearer {presented}", now=NOW)

    assert refused.value.is_ours


@pytest.mark.parametrize(
    "header",
    [
        mint_bearer(bytes(32)),
        ACCESS_KEY,
        token(CLAIMS),
        f"Token {mint_bearer(bytes(32))}",
        f"Basic {token(CLAIMS)}",
        f"Bearer {mint_bearer(bytes(32))}{'x' * 5_000}",
        f"Bearer {token({'iss': ACCESS_KEY})}",
        f"Bearer {token(CLAIMS | {'exp': 'soon'})}",
        f"Bearer {token(CLAIMS, header={'alg': 'HS512'})}",
        f"Bearer {token(CLAIMS | {'more': 'x' * LONGEST_TOKEN})}",
    ],
)
def test_what_we_made_is_refused_as_ours_however_badly_it_is_written_or_sent(header: str) -> None:
    """Else a receiver on loopback would take a tenant that leaves out a word for its operator."""
    with pytest.raises(KeyRefused) as refused:
        keyring(stored("shop", random=bytes(32)), pair()).holder_of(header, now=NOW)

    assert refused.value.is_ours


@pytest.mark.parametrize(
    "presented",
    [
        "sk-of-a-provider",
        token(CLAIMS | {"iss": "AKIDofKling"}),
        token({"iss": "AKIDofKling"}),
        token(CLAIMS | {"iss": [ACCESS_KEY]}),
        "a.b.c",
        "..",
    ],
)
def test_a_strangers_key_is_refused_as_a_strangers(presented: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        keyring().holder_of(f"Bearer {presented}", now=NOW)

    assert not refused.value.is_ours


def test_keys_of_the_configuration_are_the_operators() -> None:
    ring = keyring(stored("shop"), operators=("an operator's first key", "an operator's second key"))

    assert OPERATOR == ring.holder_of("Bearer an operator's second key", now=NOW)
    assert "shop" == ring.holder_of(f"Bearer {mint_bearer(RANDOM)}", now=NOW).name


async def test_a_revoked_key_opens_nothing_and_what_it_opened_is_to_end() -> None:
    ring = keyring(stored("shop"))
    access = ring.holder_of(f"Bearer {mint_bearer(RANDOM)}", now=NOW)
    was_valid = ring.is_valid(access)

    await ring.revoke("shop", now=NOW)
    await ring.add(stored("shop"))  # as if the ledger's two answers were taken up in the wrong order

    assert (True, False) == (was_valid, ring.is_valid(access))
    assert Trouble.WRONG is trouble_with(mint_bearer(RANDOM), ring=ring)


async def test_a_revoked_key_that_is_called_like_the_operator_takes_nothing_along() -> None:
    ring = keyring(stored("operator"))

    await ring.revoke("operator", now=NOW)

    assert ring.is_valid(OPERATOR)
    assert not ring.is_valid(stored("operator").access)


@given(st.text(max_size=300) | st.builds(".".join, st.lists(st.text(max_size=40), min_size=3, max_size=3)))
def test_whatever_is_presented_is_refused_and_nothing_else_is_raised(presented: str) -> None:
    with pytest.raises(KeyRefused):
        keyring(pair(), stored("shop")).holder_of(f"Bearer {presented}", now=NOW)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": st.just(ACCESS_KEY) | st.text(max_size=5) | st.integers(),
            "exp": st.integers(SECONDS - 99, SECONDS + 99) | st.text(max_size=3),
            "nbf": st.integers(SECONDS - 99, SECONDS + 99) | st.none(),
        },
    ),
    st.sampled_from(["HS256", "HS384", "HS512"]),
    st.sampled_from([SECRET, pair_secret(ACCESS_KEY, EARLIER)]),
)
def test_a_token_opens_where_it_does_at_the_library_of_others(
    claims: dict[str, Any], algorithm: str, secret: str
) -> None:
    made = token(claims, secret=secret, header={"alg": algorithm, "typ": "JWT"})

    assert opens_elsewhere(made) is opens_here(made)


def opens_here(made: str) -> bool:
    try:
        require_valid(read_token(made), [SECRET.encode()], now=NOW)
    except KeyRefused:
        return False
    return True


def opens_elsewhere(made: str) -> bool:
    """Its clock is this machine's: what the token says of times is compared by hand, and so are their types."""
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iss": False, "require": ["iss", "exp"]}
    try:
        said = jwt.decode(made, SECRET, algorithms=["HS256"], options=options)
    except jwt.PyJWTError:
        return False
    times = [said["exp"], said.get("nbf", 0)]
    if not isinstance(said["iss"], str) or not all(isinstance(each, int) for each in times):
        return False
    return SECONDS - LEEWAY < times[0] and times[1] <= SECONDS + LEEWAY


@pytest.mark.parametrize(
    ("access", "is_operator"),
    [
        (OPERATOR, True),
        (Access(name="a", tenant=None, scopes=frozenset({Scope.READ})), True),
        (Access(name="a", tenant=None, scopes=frozenset(Scope), providers=frozenset({"kling"})), False),
        (TENANT, False),
    ],
)
def test_what_is_nobodys_in_particular_is_for_those_who_see_all_tenants_and_accounts(
    access: Access, is_operator: bool
) -> None:
    assert is_operator is access.is_operator
