"""The routes of keys, and the schemas of what they take and answer."""

from __future__ import annotations

from collections.abc import Sequence

from receiver.keyroutes import LARGEST_QUOTA, NAME, USUAL_SCOPES, key_json
from receiver.keys import Access, KeyKind, Scope, StoredKey
from receiver.openapi import examples
from receiver.openapi.operation import BODY, OPERATORS, STORE, WRITE, Operation, body, header, in_path, shown
from receiver.openapi.shapes import (
    Json,
    answered,
    closed,
    listed,
    moment,
    named,
    or_null,
    taken,
    text,
    whole,
    yes_or_no,
)

_PATTERN = f"^{NAME.pattern}$"
_WISH: Json = {"name": "shop", "kind": "bearer", "scopes": ["submit", "read"], "tenant": "shop", "quota": 20}


def key_operations() -> Sequence[Operation]:
    """/v1/keys."""
    return (
        Operation(
            method="get",
            path="/v1/keys",
            name="list_keys",
            tag="keys",
            summary="Every key that was made, by name, and nothing that opens",
            answers={200: shown("All of them.", named("KeyList"), {"keys": [_shown()]})},
            problems=(*OPERATORS, *STORE),
        ),
        Operation(
            method="post",
            path="/v1/keys",
            name="add_key",
            tag="keys",
            summary="Make a key",
            description="What opens is in the answer, and never shown again. Nobody gives a scope that he has not.",
            body=body(named("KeyWish"), _WISH),
            answers={
                201: shown(
                    "The key.",
                    named("NewKey"),
                    {**_shown(), "key": "hlk_7Jx0uQ2v5mYpL1dk3q8ZrX0c2hWnB7uT5mYpL1dk3q8"},
                    headers={"Cache-Control": header(text("no-store"))},
                )
            },
            problems=("key_exists", "pass_through_missing", "invalid_request", *OPERATORS, *BODY, *WRITE),
        ),
        Operation(
            method="delete",
            path="/v1/keys/{name}",
            name="revoke_key",
            tag="keys",
            summary="Revoke a key, for good",
            parameters=(in_path("name", text("the key's name", pattern=_PATTERN)),),
            answers={200: shown("The key, which opens nothing any more.", named("Key"), _shown())},
            problems=("not_found", *OPERATORS, *WRITE),
        ),
    )


def key_schemas() -> dict[str, Json]:
    """What they take and answer, by name."""
    fields: dict[str, Json] = {
        "name": text("its name, which no other key ever has"),
        "kind": closed(KeyKind, "sent as it is, or an access key with a secret that signs tokens"),
        "access_key": or_null(text("the first half of a pair, which is no secret")),
        "tenant": or_null(text("whose tasks it sees and submits; null is everybody's")),
        "scopes": listed(closed(Scope, "a scope"), "what it is good for"),
        "providers": listed(text("an account"), "the accounts that are there for it; none are all"),
        "quota": or_null(whole("how many tasks its tenant may have running", least=1)),
        "pass_through": yes_or_no("what the gateway does not know goes on to the provider"),
        "created_at": moment("when it was made"),
        "revoked_at": or_null(moment("since when it opens nothing")),
    }
    secret = {
        "key": text("of a bearer key: what is sent as `Authorization: Bearer`"),
        "secret_key": text("of a pair: what signs its tokens"),
        "webhook_secret": text("of a tenant, where `gateway.webhook_secrets` has one: what verifies its callbacks"),
    }
    return {
        "Key": answered("What is kept of a key.", fields),
        "KeyList": answered("Every key, revoked ones too.", {"keys": listed(named("Key"), "by name")}),
        "NewKey": answered("A key, with what is shown this once.", fields, optional=secret),
        "KeyWish": _wish(),
    }


def _wish() -> Json:
    usual = ", ".join(USUAL_SCOPES)
    scopes = listed(closed(Scope, "a scope"), f"what it is good for; {usual} where left out")
    quota = whole("how many tasks its tenant may have running", least=1, most=LARGEST_QUOTA)
    return taken(
        "Who may do what. An operator's key (`tenant` null) has no quota.",
        {"name": text("its name", pattern=_PATTERN)},
        optional={
            "kind": {**closed(KeyKind, "how it is shown at the door"), "default": str(KeyKind.BEARER)},
            "scopes": {**scopes, "minItems": 1},
            "tenant": or_null(text("whose tasks it sees and submits; its name where left out", pattern=_PATTERN)),
            "providers": listed(text("an account of the configuration"), "the accounts for it; none are all"),
            "quota": or_null(quota),
            "pass_through": yes_or_no("let what the gateway does not know go on to the provider"),
        },
    )


def _shown() -> Json:
    access = Access(name="shop", tenant="shop", scopes=frozenset(USUAL_SCOPES), quota=20)
    return key_json(StoredKey(access=access, kind=KeyKind.BEARER, created_at=examples.CREATED))
