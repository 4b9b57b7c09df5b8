"""Signed callbacks, and credentials at the desk."""

import base64
import hashlib
import hmac
import json
import time
from functools import partial

import pytest

from sandbox import SandboxSettings
from sandbox.signing import sign

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


def jwt(*, secret: str = "sk", alg: str = "HS256", exp: int | None = 1800, nbf: int = -5, iss: str = "ak") -> str:
    """`exp` and `nbf` in seconds from now."""
    now = int(time.time())
    said = {"iss": iss, "exp": None if exp is None else now + exp, "nbf": now + nbf}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": alg}, said)]
    signature = hmac.digest(secret.encode(), b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_the_published_vector_is_signed_as_published():
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
    )

    assert "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=" == sign(
        SECRET, message_id="9876543210", timestamp=1781080794, body=body
    )


def test_a_secret_that_is_none_is_refused_when_the_sandbox_is_made():
    with pytest.raises(ValueError, match="whsec_"):
        SandboxSettings(webhook_secret="whsec_no base64!")


async def test_kling_signs_its_callbacks_and_a_reseller_does_not(play, recorder):
    sandbox = await play(webhook_secret=SECRET)
    began = time.time()
    await sandbox.create("kling", "a fox", "t_1")
    await sandbox.create("cometapi", "a fox", "t_2")
    callbacks, unsigned = await recorder.until("t_1", 3), await recorder.until("t_2", 3)
    ended = time.time()

    for callback in callbacks:
        headers = callback.headers
        assert int(began) <= int(headers["webhook-timestamp"]) <= ended
        assert headers["webhook-signature"] == sign(
            SECRET,
            message_id=headers["webhook-id"],
            timestamp=int(headers["webhook-timestamp"]),
            body=callback.raw,
        )
    assert 3 == len({callback.headers["webhook-id"] for callback in callbacks})
    assert not any("webhook-signature" in callback.headers for callback in unsigned)


async def test_a_repeated_message_keeps_its_id(play, recorder):
    sandbox = await play(webhook_secret=SECRET)
    await sandbox.create("kling", "[[duplicate]]", "t_1")
    callbacks = await recorder.until("t_1", 6)

    assert 3 == len({callback.headers["webhook-id"] for callback in callbacks})


async def test_a_forger_cannot_sign(play, recorder):
    sandbox = await play(webhook_secret=SECRET)
    await sandbox.create("kling", "[[forged]]", "t_1")
    signed = ["webhook-signature" in callback.headers for callback in await recorder.until("t_1", 4)]

    assert [True, True, False, True] == signed


@pytest.mark.parametrize("gateway", ["kling", "cometapi", "powertokens"])
async def test_a_wrong_key_is_401_everywhere(play, gateway):
    sandbox = await play(api_key="right")
    answers = [
        await sandbox.client.get(f"{sandbox.images(gateway)}/1", headers={"authorization": header})
        for header in ("Bearer wrong", "Basic right", "Bearer", "")
    ]
    right = await sandbox.client.get(f"{sandbox.images(gateway)}/1", headers={"authorization": "Bearer right"})

    assert [401] * 4 == [answer.status_code for answer in answers]
    assert 400 == right.status_code
    assert "right" not in json.dumps(await sandbox.control("requests"))


async def test_an_empty_key_has_its_own_code(play):
    sandbox = await play()
    answer = await sandbox.client.get(f"{sandbox.images('kling')}/1", headers={"authorization": ""})

    assert (401, 1001) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("code", "token"),
    [
        (None, jwt),
        (1000, partial(jwt, secret="other")),
        (1002, partial(jwt, alg="none")),
        (1002, partial(jwt, iss="somebody")),
        (1002, partial(jwt, exp=None)),
        (1003, partial(jwt, nbf=3600)),
        (1004, partial(jwt, exp=-1)),
        (1002, lambda: "a.b.c"),
        (1002, lambda: "ä.ö.ü".encode().decode("latin-1")),
        (1002, lambda: "plain"),
    ],
)
async def test_kling_verifies_jwts(play, code, token):
    sandbox = await play(kling_access_key="ak", kling_secret_key="sk")
    header = f"Bearer {token()}".encode("latin-1")
    answer = await sandbox.client.get(f"{sandbox.images('kling')}?pageNum=1", headers={b"authorization": header})

    assert (code or 0) == answer.json()["code"]
    assert (401 if code else 200) == answer.status_code
