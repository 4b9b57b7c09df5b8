"""What each gateway accepts at create: fields, kinds and ranges, and the order that comes of them."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sandbox.answers import Endpoint, Gateway, Json, Refusal, bad_parameter, bad_value

LONGEST_PROMPT: Final = 2500
LONGEST_URL: Final = 2048
LONGEST_EXTERNAL_ID: Final = 256  # published nowhere: generous, so that a client's own limit shows first
LARGEST_IMAGE_CHARACTERS: Final = 10 * 1024 * 1024 * 4 // 3 + 4  # 10 MB in base64
MOST_INPUTS: Final = 10

MODELS: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    Endpoint.OMNI_IMAGE: ("kling-image-o1", "kling-v3-omni"),
    Endpoint.GENERATIONS: ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-1", "kling-v3"),
}
DEFAULT_MODEL: Final[Mapping[Endpoint, str]] = {
    Endpoint.OMNI_IMAGE: "kling-image-o1",
    Endpoint.GENERATIONS: "kling-v1",
}
RATIOS: Final = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
RESOLUTIONS: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    Endpoint.OMNI_IMAGE: ("1k", "2k", "4k"),
    Endpoint.GENERATIONS: ("1k", "2k"),
}
DEFAULT_RATIO: Final[Mapping[Endpoint, str]] = {Endpoint.OMNI_IMAGE: "auto", Endpoint.GENERATIONS: "16:9"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A create that was accepted as sane: what of it matters for the images and the callbacks."""

    gateway: Gateway
    endpoint: Endpoint
    prompt: str
    model: str
    external_task_id: str | None
    callback_url: str | None
    image_count: int
    series: bool
    aspect_ratio: str
    resolution: str
    watermark: bool


class _Unfit(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def read_order(gateway: Gateway, endpoint: Endpoint, body: object) -> Order | Refusal:
    """Judge the body of a create as that gateway would."""
    if not isinstance(body, Mapping):
        return bad_parameter("the body must be a JSON object")
    sent = {key: value for key, value in body.items() if value is not None}
    try:
        for name, check in FIELDS[endpoint].items():
            if name in sent:
                check(name, sent[name])
        _check_what_is_known(gateway, endpoint, sent)
        _check_model(gateway, endpoint, sent)
        _check_together(endpoint, sent)
        _check_elements(gateway, endpoint, sent)
    except _Unfit as unfit:
        return unfit.refusal
    return _order(gateway, endpoint, sent)


def _order(gateway: Gateway, endpoint: Endpoint, sent: Json) -> Order:
    series = sent.get("result_type") == "series"
    amount = sent.get("series_amount", 4) if series else sent.get("n", 1)
    watermark = sent.get("watermark_info")
    return Order(
        gateway=gateway,
        endpoint=endpoint,
        prompt=str(sent["prompt"]),
        model=str(sent.get("model_name", DEFAULT_MODEL[endpoint])),
        external_task_id=_text_or_none(sent.get("external_task_id")),
        callback_url=_text_or_none(sent.get("callback_url")),
        image_count=amount if isinstance(amount, int) else 4,
        series=series,
        aspect_ratio=str(sent.get("aspect_ratio", DEFAULT_RATIO[endpoint])),
        resolution=str(sent.get("resolution", "1k")).lower(),
        watermark=isinstance(watermark, Mapping) and watermark.get("enabled") is True,
    )


def _text_or_none(value: object) -> str | None:
    return str(value) if value else None


def _check_what_is_known(gateway: Gateway, endpoint: Endpoint, sent: Json) -> None:
    if not str(sent.get("prompt", "")).strip():
        raise _Unfit(bad_parameter("prompt is required"))
    # Only CometAPI's schema of this endpoint says additionalProperties: false; the others ignore what they don't know.
    if gateway is Gateway.COMETAPI and endpoint is Endpoint.OMNI_IMAGE:
        unknown = sorted(set(sent) - set(FIELDS[endpoint]))
        if unknown:
            raise _Unfit(bad_parameter(f"unknown field: {unknown[0]}"))


def _check_model(gateway: Gateway, endpoint: Endpoint, sent: Json) -> None:
    models = MODELS[endpoint]
    if gateway is Gateway.POWERTOKENS and endpoint is Endpoint.OMNI_IMAGE:
        models = ("kling-v3-omni",)
        if "model_name" not in sent:
            raise _Unfit(bad_parameter("model_name is required"))
    if sent.get("model_name", models[0]) not in models:
        raise _Unfit(bad_value(f"model_name must be one of {', '.join(models)}"))


def _check_together(endpoint: Endpoint, sent: Json) -> None:
    model = sent.get("model_name", DEFAULT_MODEL[endpoint])
    has_inputs = any(sent.get(name) for name in ("image", "image_list", "element_list"))
    ratio = sent.get("aspect_ratio")
    rules = (
        (model == "kling-image-o1" and str(sent.get("resolution")).lower() == "4k", "kling-image-o1 has no 4k"),
        (ratio == "auto" and endpoint is Endpoint.GENERATIONS, "aspect_ratio has no auto here"),
        (
            ratio == "auto" and model == "kling-v3-omni" and not has_inputs,
            "aspect_ratio auto does not work for text alone on kling-v3-omni",
        ),
        (_length(sent, "image_list") + _length(sent, "element_list") > MOST_INPUTS, "images and elements exceed 10"),
        ("image" in sent and "negative_prompt" in sent, "negative_prompt does not go with image"),
    )
    for broken, message in rules:
        if broken:
            raise _Unfit(bad_value(message))


def _length(sent: Json, name: str) -> int:
    value = sent.get(name)
    return len(value) if isinstance(value, list) else 0


def _check_elements(gateway: Gateway, endpoint: Endpoint, sent: Json) -> None:
    # Elsewhere an element id is an integer of 18 digits; only CometAPI's omni-image takes it as text as well.
    text_too = gateway is Gateway.COMETAPI and endpoint is Endpoint.OMNI_IMAGE
    if gateway is Gateway.COMETAPI and sent.get("series_amount") == "auto":
        raise _Unfit(bad_value("series_amount must be from 2 to 9"))
    elements = sent.get("element_list", [])
    for element in elements if isinstance(elements, list) else []:
        identity = element.get("element_id") if isinstance(element, Mapping) else None
        if not (_is_integer(identity) or (text_too and isinstance(identity, str) and identity)):
            raise _Unfit(bad_parameter("element_list[].element_id must be an integer"))


Check = Callable[[str, object], None]


def _text(longest: int) -> Check:
    def check(name: str, value: object) -> None:
        if not isinstance(value, str):
            raise _Unfit(bad_parameter(f"{name} must be a string"))
        if len(value) > longest:
            raise _Unfit(bad_value(f"{name} must not exceed {longest} characters"))

    return check


def _one_of(*allowed: str) -> Check:
    def check(name: str, value: object) -> None:
        if not isinstance(value, str):
            raise _Unfit(bad_parameter(f"{name} must be a string"))
        if value not in allowed:
            raise _Unfit(bad_value(f"{name} must be one of {', '.join(allowed)}"))

    return check


def _resolution(*allowed: str) -> Check:
    # PowerTokens prints 1K and 4K where Kling prints 1k and 4k: which of them minds the case is published nowhere.
    fitting = _one_of(*allowed)
    return lambda name, value: fitting(name, value.lower() if isinstance(value, str) else value)


def _integer(low: int, high: int, *, words: tuple[str, ...] = ()) -> Check:
    def check(name: str, value: object) -> None:
        if isinstance(value, str) and value in words:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise _Unfit(bad_parameter(f"{name} must be an integer"))
        if not low <= value <= high:
            raise _Unfit(bad_value(f"{name} must be from {low} to {high}"))

    return check


def _share(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unfit(bad_parameter(f"{name} must be a number"))
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise _Unfit(bad_value(f"{name} must be from 0 to 1"))


def _objects(key: str) -> Check:
    def check(name: str, value: object) -> None:
        if not isinstance(value, list) or not all(isinstance(item, Mapping) and key in item for item in value):
            raise _Unfit(bad_parameter(f"{name} must be an array of objects with {key}"))
        if name == "image_list":
            for item in value:
                _picture(f"{name}[].{key}", item[key])

    return check


def _picture(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise _Unfit(bad_parameter(f"{name} must be a URL or base64"))
    if value.startswith("data:"):
        raise _Unfit(bad_value(f"{name} must be base64 without a data: prefix"))
    if len(value) > LARGEST_IMAGE_CHARACTERS:
        raise _Unfit(bad_value(f"{name} must not exceed 10 MB"))


def _watermark(name: str, value: object) -> None:
    if not isinstance(value, Mapping) or not isinstance(value.get("enabled", False), bool):
        raise _Unfit(bad_parameter(f"{name}.enabled must be a boolean"))


def _callback_url(name: str, value: object) -> None:
    _text(LONGEST_URL)(name, value)
    if value and not _can_be_called(str(value)):
        raise _Unfit(bad_value(f"{name} must be an http(s) URL without userinfo and fragment"))


def _can_be_called(text: str) -> bool:
    # The real ones want public https; here a receiver on loopback is the whole point.
    try:
        url = urlsplit(text)
        fit = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return fit and "@" not in url.netloc and not url.fragment and re.fullmatch(r"[!-~]+", text) is not None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_SHARED: Final[Mapping[str, Check]] = {
    "prompt": _text(LONGEST_PROMPT),
    "model_name": _text(100),
    "n": _integer(1, 9),
    "element_list": _objects("element_id"),
    "watermark_info": _watermark,
    "callback_url": _callback_url,
    "external_task_id": _text(LONGEST_EXTERNAL_ID),
}
FIELDS: Final[Mapping[Endpoint, Mapping[str, Check]]] = {
    Endpoint.OMNI_IMAGE: {
        **_SHARED,
        "image_list": _objects("image"),
        "resolution": _resolution(*RESOLUTIONS[Endpoint.OMNI_IMAGE]),
        "result_type": _one_of("single", "series"),
        "series_amount": _integer(2, 9, words=("auto",)),
        "aspect_ratio": _one_of(*RATIOS, "auto"),
    },
    Endpoint.GENERATIONS: {
        **_SHARED,
        "negative_prompt": _text(LONGEST_PROMPT),
        "image": _picture,
        "image_reference": _one_of("subject", "face"),
        "image_fidelity": _share,
        "human_fidelity": _share,
        "resolution": _resolution(*RESOLUTIONS[Endpoint.GENERATIONS]),
        "aspect_ratio": _one_of(*RATIOS, "auto"),
    },
}
