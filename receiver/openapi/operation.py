"""One method of one route, and how it is written in the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from receiver.keys import Scope
from receiver.openapi import examples
from receiver.openapi.shapes import Json, answered, closed, listed, named, text
from receiver.problems import CODES, PROBLEM
from submitter.blockstream import SOURCE_HEADER

JSON = "application/json"

EVERYWHERE = ("bad_http", "too_slow", "path_too_long", "too_many_pipelined", "headers_too_large", "internal")
UNKNOWN_KEY = ("api_key_required", "key_malformed", "key_wrong", "key_not_yet_valid", "key_expired")
KEYED = (*UNKNOWN_KEY, "local_only", "scope_missing")
OPERATORS = ("operator_only",)
BODY = ("too_large", "unsupported_encoding")
STORE = ("ledger_unavailable",)
WRITE = ("ledger_unavailable", "overloaded")

# What problem documents of a code have besides those members that all have.
MORE: Mapping[str, Mapping[str, Json]] = {
    "invalid_request": {
        "errors": listed(
            answered("One of them.", {"field": text("where it is wrong"), "problem": text("what to write instead")}),
            "what is wrong, field by field",
        )
    },
    "scope_missing": {"scope": closed(Scope, "the scope that the key was not given")},
    "refused": {
        "provider_code": text("the provider's own code"),
        "provider_message": text("the provider's own message"),
    },
}
HEADERS: Mapping[str, Mapping[str, str]] = {
    **{code: {"WWW-Authenticate": "The scheme: Bearer."} for code in UNKNOWN_KEY},
    "position_ahead": {SOURCE_HEADER: "The ledger's own name: another one begins anew."},
    "unsupported_encoding": {"Accept-Encoding": "identity"},
    **{
        code: {"Retry-After": "Seconds after which to send it again."}
        for code in ("ledger_unavailable", "overloaded", "shutting_down", "too_many_invalid", "quota_reached")
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered when all is well: media types with their media objects, and headers with their descriptions."""

    description: str
    content: Mapping[str, Json]
    headers: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route. `problems` are the codes it answers besides those of all routes."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    problems: Sequence[str] = ()
    parameters: Sequence[Json] = ()
    body: Json | None = None
    description: str = ""
    needs_key: bool = True

    @property
    def refusals(self) -> dict[int, list[str]]:
        """The codes of its problem documents, by their status."""
        by_status: dict[int, list[str]] = {}
        codes = {*self.problems, *EVERYWHERE, *(KEYED if self.needs_key else ())}
        for code in sorted(codes):
            by_status.setdefault(CODES[code].status, []).append(code)
        return by_status

    def written(self) -> Json:
        """The operation object."""
        answers = {str(status): _written(answer) for status, answer in self.answers.items()}
        refusals = {str(status): {"$ref": _place_of(codes)} for status, codes in self.refusals.items()}
        operation: Json = {
            "operationId": self.name,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "parameters": list(self.parameters),
            "requestBody": self.body,
            "responses": dict(sorted((answers | refusals).items())),
        }
        said = {name: value for name, value in operation.items() if value}
        return said if self.needs_key else said | {"security": []}


def in_path(name: str, schema: Json) -> Json:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}


def in_query(name: str, schema: Json) -> Json:
    """A query parameter, which may be left out."""
    return {"name": name, "in": "query", "schema": schema}


def in_header(name: str, schema: Json) -> Json:
    """A header of the request, which may be left out."""
    return {"name": name, "in": "header", "schema": schema}


def body(schema: Json, example: Json) -> Json:
    """A body that must be there."""
    return {"required": True, "content": {JSON: {"schema": schema, "example": example}}}


def shown(description: str, schema: Json, example: Json, *, headers: Mapping[str, Json] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(
        description=description, content={JSON: {"schema": schema, "example": example}}, headers=headers or {}
    )


def header(schema: Json) -> Json:
    """A header that an answer always has."""
    return {"required": True, "schema": schema}


def refusals_of(operations: Iterable[Operation]) -> dict[str, Json]:
    """The responses that their problem documents are, by name."""
    sets = {tuple(codes): status for each in operations for status, codes in each.refusals.items()}
    return {_name_of(codes): _refusal(status, codes) for codes, status in sorted(sets.items())}


def problem_schema() -> Json:
    """Any problem document: RFC 9457, with a stable code."""
    return answered("RFC 9457, with a stable `code`.", _members(CODES, {"type": "integer"}))


def _written(answer: Answer) -> Json:
    said = {"description": answer.description, "headers": dict(answer.headers), "content": dict(answer.content)}
    return {name: value for name, value in said.items() if value}


def _refusal(status: int, codes: Sequence[str]) -> Json:
    more = {name: schema for code in codes for name, schema in MORE.get(code, {}).items()}
    fields = _members(codes, {"const": status})
    is_alone = len(codes) == 1
    schema = answered(HTTPStatus(status).phrase, fields | (more if is_alone else {}), optional={} if is_alone else more)
    headers = [set(HEADERS.get(code, {})) for code in codes]
    always = set.intersection(*headers)
    said = {name: words for code in codes for name, words in HEADERS.get(code, {}).items()}
    return {
        "description": " ".join(f"`{code}`: {CODES[code].meaning}" for code in codes),
        "headers": {name: {"required": name in always, "schema": text(words)} for name, words in said.items()},
        "content": {PROBLEM: {"schema": {"allOf": [named("Problem"), schema]}, **_shown_by(codes)}},
    }


def _shown_by(codes: Sequence[str]) -> Json:
    found = {code: {"value": example} for code in codes if (example := examples.problem(code)) is not None}
    return {"examples": found} if found else {}


def _members(codes: Iterable[str], status: Json) -> dict[str, Json]:
    return {
        "type": text("about:blank: the code says more"),
        "title": text("the status in words"),
        "status": {**status, "description": "the HTTP status"},
        "code": closed(sorted(codes), "what it is, for programs: docs/errors.md"),
        "detail": text("what it is, for people"),
    }


def _name_of(codes: Sequence[str]) -> str:
    return "Or".join("".join(word.capitalize() for word in code.split("_")) for code in codes)


def _place_of(codes: Sequence[str]) -> str:
    return f"#/components/responses/{_name_of(codes)}"
