"""What a gateway may answer: values only, the refusals with their business codes among them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Json = Mapping[str, object]


class Gateway(StrEnum):
    """The three that are played; each is also the first segment of its base URL."""

    KLING = "kling"
    COMETAPI = "cometapi"
    POWERTOKENS = "powertokens"


class Endpoint(StrEnum):
    """What can be asked for; each is also the last segment of its path."""

    OMNI_IMAGE = "omni-image"
    GENERATIONS = "generations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer before it is bytes: JSON for a mapping, an HTML page for text, silence for neither."""

    http_status: int
    body: Json | str | None  # None: the connection is dropped without a word
    retry_after: int | None = None

    def business_code(self) -> object:
        """The code that a client should decide by, where the body has one."""
        if not isinstance(self.body, Mapping):
            return None
        error = self.body.get("error")
        return error.get("code") if isinstance(error, Mapping) else self.body.get("code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a gateway will not: its business code and words, before they are put into that gateway's shape."""

    http_status: int
    code: int
    message: str
    own: bool = False  # the gateway's own objection, and not one passed on from upstream


HANGUP: Final = Answer(http_status=0, body=None)
GATEWAY_TIMEOUT: Final = Answer(
    http_status=504, body="<html><head><title>504 Gateway Time-out</title></head><body>504</body></html>"
)
BAD_GATEWAY: Final = Answer(
    http_status=502, body="<html><head><title>502 Bad Gateway</title></head><body>502</body></html>"
)
SILENCES: Final[Mapping[str, Answer]] = {"hangup": HANGUP, "504": GATEWAY_TIMEOUT}

ALREADY_EXISTS: Final = Refusal(http_status=400, code=1201, message="External task id already exists")
NOT_FOUND: Final = Refusal(http_status=400, code=1201, message="Task not found by id/external id")
NO_SLOT: Final = Refusal(http_status=429, code=1303, message="Parallel task over resource pack limit")
TOO_FAST: Final = Refusal(http_status=429, code=1302, message="Too many requests, please slow down")
INTERNAL: Final = Refusal(http_status=500, code=5000, message="Internal server error")
TIMED_OUT: Final = Refusal(http_status=504, code=5002, message="Server internal timeout")

# The refusals that a fault of the same name stands for.
FAULT_REFUSALS: Final[Mapping[str, Refusal]] = {
    "account": Refusal(http_status=429, code=1101, message="Account in arrears"),
    "blocked": Refusal(http_status=429, code=1304, message="Request address is not on the allow list"),
    "busy": TOO_FAST,
    "slots_full": NO_SLOT,
    "server_error": INTERNAL,
    "maintenance": Refusal(http_status=503, code=5001, message="Server under maintenance"),
    "policy": Refusal(http_status=400, code=1301, message="Request triggers the content safety policy"),
}
# An error that some gateways pass on under HTTP 200.
HTTP200_REFUSALS: Final[Mapping[str, Refusal]] = {
    "1302": Refusal(http_status=200, code=1302, message=TOO_FAST.message),
    "1303": Refusal(http_status=200, code=1303, message=NO_SLOT.message),
    "5000": Refusal(http_status=200, code=5000, message=INTERNAL.message),
}
QUERY_REFUSALS: Final[Mapping[str, Refusal]] = {"500": INTERNAL, "504": TIMED_OUT, "429": TOO_FAST}


def json_bytes(body: object) -> bytes:
    """JSON in UTF-8, or escaped where a lone surrogate came in: nothing that came in may break the way out."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body).encode()


def bad_parameter(message: str) -> Refusal:
    """A field of the wrong kind, missing, or not known."""
    return Refusal(http_status=400, code=1200, message=message, own=True)


def bad_value(message: str) -> Refusal:
    """A field of the right kind, with a value that cannot be."""
    return Refusal(http_status=400, code=1201, message=message, own=True)


def unauthorized(code: int, message: str) -> Refusal:
    """Bad credentials."""
    return Refusal(http_status=401, code=code, message=message, own=True)
