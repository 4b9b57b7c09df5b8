"""What the three Kling-compatible dialects share: paths, requests, answers and callbacks of one family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar
from urllib.parse import quote

from submitter.errors import FieldProblem, InvalidRequest, Unreadable
from submitter.moments import Moment
from submitter.providers.base import MOST_IN_BATCH, Call, Capabilities, Received, Trust
from submitter.providers.codes import error_in, error_of_status
from submitter.providers.reading import parse, read_task, read_tasks
from submitter.report import StatusReport
from submitter.request import MAX_REFERENCES, Endpoint, ImageRequest, OmniImageRequest, references_in
from submitter.settings import ProviderSettings
from submitter.signatures import BadSignature, verify

SANDBOX_KEY = "sandbox"  # what an account on loopback that names no key presents
MAX_CALLBACK_URL = 2_048  # wire.md §2
_GENERATION_MODELS = ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-1", "kling-v3")


class KlingFamily:
    """The dialect of Kling's image endpoints as wire.md §1-5 gives it; a gateway's file says where it differs."""

    prefix: ClassVar[str]
    models: ClassVar[Mapping[Endpoint, tuple[str, ...]]] = {
        "omni-image": ("kling-image-o1", "kling-v3-omni"),
        "generations": _GENERATION_MODELS,
    }
    # Always sent: an omitted model is a legacy one, or none at all (wire.md §2).
    default_models: ClassVar[Mapping[Endpoint, str]] = {
        "omni-image": "kling-image-o1",
        "generations": "kling-v3",
    }
    assumed: ClassVar[Capabilities]

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        self.name = name
        self.settings = settings
        self.capabilities = _with_flags(self.assumed, settings)

    def problems_with(self, request: ImageRequest) -> list[FieldProblem]:
        """What the whole family, or this provider, does not accept of an otherwise well-formed request."""
        problems = [*self._model_problems(request), *self._element_problems(request)]
        if references_in(request) > MAX_REFERENCES:
            problems.append(FieldProblem("image_list", f"images and elements together: at most {MAX_REFERENCES}"))
        if isinstance(request, OmniImageRequest):
            problems += self._omni_problems(request)
        elif request.negative_prompt and request.image:
            problems.append(FieldProblem("negative_prompt", "does not go with image: leave one of them out"))
        return problems

    def create_call(self, request: ImageRequest, *, external_task_id: str, callback_url: str) -> Call:
        """POST the request with its model, our id and the place to call back to. Raises InvalidRequest."""
        problems = self.problems_with(request)
        if len(callback_url) > MAX_CALLBACK_URL:
            problems.append(FieldProblem("callback_url", f"has {len(callback_url)} characters: shorten public_url"))
        if problems:
            raise InvalidRequest(problems)
        fields = self._wire_fields(request)
        fields |= {"callback_url": callback_url, "external_task_id": external_task_id}
        return Call(method="POST", path=self._path(request.endpoint), json=fields)

    def query_call(self, *, endpoint: Endpoint, provider_task_id: str | None, external_task_id: str | None) -> Call:
        """GET one task by the provider's id, else by ours where that is promised. Raises ValueError else."""
        by_ours = external_task_id if self.capabilities.query_by_external_id else None
        asked_by = provider_task_id or by_ours
        if not asked_by:
            raise ValueError(f"{self.name} does not promise to find a task by its external id")
        return Call(method="GET", path=f"{self._path(endpoint)}/{_segment(asked_by)}")

    def list_call(self, *, endpoint: Endpoint, page: int, page_size: int) -> Call:
        """GET a page: `page` 1..1000, `page_size` 1..500 (wire.md §1). Raises ValueError where there is no list."""
        if not self.capabilities.list_query:
            raise ValueError(f"{self.name} has no list of tasks")
        return Call(method="GET", path=f"{self._path(endpoint)}?pageNum={page}&pageSize={page_size}")

    def batch_call(self, *, provider_task_ids: Sequence[str] = (), external_task_ids: Sequence[str] = ()) -> Call:
        """GET up to 20 tasks, by the provider's ids or by ours (wire.md §1, O). Raises ValueError."""
        if not self.capabilities.batch_query:
            raise ValueError(f"{self.name} is not known to answer about several tasks at once: set flags.batch_query")
        ids = provider_task_ids or external_task_ids
        if bool(provider_task_ids) == bool(external_task_ids) or len(ids) > MOST_IN_BATCH:
            raise ValueError(f"a batch is asked for by 1 to {MOST_IN_BATCH} ids of one kind")
        name = "task_ids" if provider_task_ids else "external_task_ids"
        return Call(method="GET", path=f"{self.prefix}/tasks?{name}={','.join(quote(each, safe='') for each in ids)}")

    def authorize(self, call: Call, *, now: Moment) -> Call:  # noqa: ARG002 - a JWT needs the time, a key does not
        """The call with `Authorization: Bearer <api_key>`."""
        key = self.settings.api_key
        return self._with_bearer(call, SANDBOX_KEY if key is None else key.get_secret_value())

    def read_answer(self, http_status: int, body: bytes) -> list[StatusReport]:
        """One report, or a page of them. Raises Refused, Deferred, Unanswered or Unreadable."""
        try:
            value = parse(body)
        except Unreadable:
            if http_status < 300:
                raise
            raise error_of_status(http_status, "") from None
        error = error_in(http_status, value)
        if error is not None:
            raise error
        if isinstance(value, Mapping) and "code" in value:
            value = value.get("data")
        return read_tasks(value, provider=self.name)

    def read_callback(self, received: Received, *, now: Moment) -> tuple[StatusReport, Trust]:
        """The report of a callback. Raises BadSignature before anything is read, or Unreadable."""
        trust = self.trust_of(received, now=now)
        return self.read_report(received.body), trust

    def trust_of(self, received: Received, *, now: Moment) -> Trust:
        """How a callback is known to be the provider's. Raises BadSignature.

        Whether callbacks of this generation are signed is nowhere said, so a missing signature is no forgery.
        """
        secrets = [secret.get_secret_value() for secret in self.settings.webhook_secrets]
        is_signed = "webhook-signature" in received.headers
        if secrets and is_signed:
            verify(secrets, received.headers, received.body, now=now)
            return Trust.SIGNED
        if self.settings.require_signature:
            raise BadSignature("this account takes signed callbacks only, and this one has no signature")
        return Trust.TOKEN

    def read_report(self, body: bytes) -> StatusReport:
        """A task object in any of the family's shapes. Raises Unreadable."""
        return read_task(parse(body), provider=self.name)

    def acknowledgement(self, verdict: str) -> tuple[int, bytes]:
        """200 and the verdict: this family looks at the status alone (wire.md §4)."""
        return 200, _said(verdict)

    def handshake(self, received: Received) -> bytes | None:  # noqa: ARG002 - the protocol's shape
        """None: this family registers no callback address."""
        return None

    def _path(self, endpoint: Endpoint) -> str:
        return f"{self.prefix}/v1/images/{endpoint}"

    def _with_bearer(self, call: Call, token: str) -> Call:
        return replace(call, headers={**call.headers, "Authorization": f"Bearer {token}"})

    def _wire_fields(self, request: ImageRequest) -> dict[str, Any]:
        fields = {"model_name": self._model(request), **request.wire_fields()}
        for element in fields.get("element_list", ()):
            element["element_id"] = _number_if_digits(element["element_id"])
        return fields

    def _model(self, request: ImageRequest) -> str:
        return request.model_name or self.default_models[request.endpoint]

    def _model_problems(self, request: ImageRequest) -> list[FieldProblem]:
        known = (*self.models[request.endpoint], *self.settings.flags.extra_models)
        if self._model(request) in known:
            return []
        return [FieldProblem("model_name", f"{self.name} accepts {' or '.join(known)} here")]

    def _element_problems(self, request: ImageRequest) -> list[FieldProblem]:
        return [
            FieldProblem(f"element_list.{place}.element_id", "must be an integer, or text of digits only")
            for place, element in enumerate(request.element_list or ())
            if not isinstance(_number_if_digits(element.element_id), int)
        ]

    def _omni_problems(self, request: OmniImageRequest) -> list[FieldProblem]:
        problems = []
        model = self._model(request)
        if model == "kling-image-o1" and request.resolution == "4k":
            problems.append(FieldProblem("resolution", "kling-image-o1 makes 1k or 2k: for 4k name kling-v3-omni"))
        if model == "kling-v3-omni" and request.aspect_ratio == "auto" and not references_in(request):
            problems.append(FieldProblem("aspect_ratio", "auto needs an image or element to follow: name a ratio"))
        return problems


@cache  # of a handful of words
def _said(verdict: str) -> bytes:
    return json.dumps({"verdict": verdict}, separators=(",", ":")).encode()


def _with_flags(assumed: Capabilities, settings: ProviderSettings) -> Capabilities:
    flags = settings.flags

    def said(flag: bool | None, otherwise: bool) -> bool:  # noqa: FBT001 - flags are what this is about
        return otherwise if flag is None else flag

    return replace(
        assumed,
        query_by_external_id=said(flags.query_by_external_id, assumed.query_by_external_id),
        list_query=said(flags.list_query, assumed.list_query),
        batch_query=said(flags.batch_query, assumed.batch_query),
        callback_id_is_task_id=said(flags.callback_id_is_task_id, assumed.callback_id_is_task_id),
        signs_callbacks=bool(settings.webhook_secrets),
    )


def _number_if_digits(element_id: int | str) -> int | str:
    """Digits go out as a JSON integer, however large: the wire's own type for them."""
    return (
        int(element_id) if isinstance(element_id, str) and element_id.isascii() and element_id.isdigit() else element_id
    )


def _segment(identifier: str) -> str:
    """One path segment, whatever the id: dots too, lest an id of `..` climb to another path."""
    return quote(identifier, safe="").replace(".", "%2E")


POLL_INTERVAL = timedelta(seconds=25)  # CometAPI advises 20 to 30 s (wire.md §4)
KLING_RESULT_LIFETIME = timedelta(days=30)
