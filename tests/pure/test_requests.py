"""Every documented field is taken at its limits and refused beyond them, in words, field by field."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitter.errors import InvalidRequest
from submitter.ids import check_external_task_id, new_external_task_id
from submitter.request import read_request, references_in, request_digest, slots_held
from tests.pure.builders import NOW, OURS, provider

KINDS = ["kling", "cometapi", "powertokens"]
RATIOS = ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]
URL = "https://h.example.com/cat.png"
CALLBACK = "https://hooks.example.com/callbacks/x/y/z"

BOTH_TAKE = [
    *[("prompt", each) for each in ("p", "p" * 2_500, "<<<image_1>>> in the snow", "猫" * 2_500)],
    *[("resolution", each) for each in ("1k", "2k")],
    *[("n", each) for each in (1, 9)],
    *[("aspect_ratio", each) for each in RATIOS],
    *[("watermark_info", {"enabled": each}) for each in (True, False)],
    ("element_list", [{"element_id": 867283741759111202}]),
    ("element_list", [{"element_id": "867283741759111202"}]),
    ("element_list", [{"element_id": number} for number in range(10)]),
]
TAKES = {
    "omni-image": [
        *BOTH_TAKE,
        ("resolution", "4k"),
        ("aspect_ratio", "auto"),
        ("image_list", [{"image": URL}]),
        ("image_list", [{"image": URL}] * 10),
        ("result_type", "single"),
        ("result_type", "series"),
        *[("series_amount", each) for each in (2, 9)],
        *[("model_name", each) for each in ("kling-v3-omni",)],
    ],
    "generations": [
        *BOTH_TAKE,
        ("image", URL),
        *[("negative_prompt", each) for each in ("", "n" * 2_500)],
        *[("image_reference", each) for each in ("subject", "face")],
        *[("image_fidelity", each) for each in (0, 0.5, 1)],
        *[("human_fidelity", each) for each in (0, 0.45, 1)],
        *[("model_name", each) for each in ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-1", "kling-v3")],
    ],
}
BOTH_REFUSE = [
    *[("prompt", each) for each in ("", "p" * 2_501, None, 7)],
    *[("resolution", each) for each in ("8k", "1K", 1)],
    *[("n", each) for each in (0, 10, -1, 1.5, "many")],
    *[("aspect_ratio", each) for each in ("5:4", "16/9")],
    *[("watermark_info", each) for each in (True, {}, {"enabled": True, "x": 1})],
    *[("element_list", each) for each in ("x", [{}], [{"element_id": None}], [7], [{"element_id": 1, "x": 2}])],
    ("callback_url", CALLBACK),
    ("external_task_id", OURS),
    ("surprise", 1),
]
REFUSES = {
    "omni-image": [
        *BOTH_REFUSE,
        *[("image_list", each) for each in (URL, [URL], [{"image": ""}], [{"image": "ftp://h/x"}], [{"image": 7}])],
        ("result_type", "many"),
        *[("series_amount", each) for each in (1, 10, "some")],
        ("negative_prompt", "n"),
        ("image", URL),
        ("image_fidelity", 0.5),
    ],
    "generations": [
        *BOTH_REFUSE,
        ("resolution", "4k"),
        ("aspect_ratio", "auto"),
        ("negative_prompt", "n" * 2_501),
        *[("image", each) for each in ("", "https://", "data:image/png;base64,AAAA", "not base64!")],
        ("image_reference", "pet"),
        *[("image_fidelity", each) for each in (-0.01, 1.01, float("nan"), float("inf"))],
        *[("human_fidelity", each) for each in (-0.01, 1.01, float("nan"))],
        ("image_list", [{"image": URL}]),
        ("result_type", "series"),
        ("series_amount", 4),
    ],
}


def _cases(table: dict[str, list[tuple[str, Any]]]) -> list[Any]:
    return [
        pytest.param(endpoint, field, value, id=f"{endpoint}-{field}-{str(value)[:20]}")
        for endpoint, rows in table.items()
        for field, value in rows
    ]


def _request(endpoint: str = "omni-image", **fields: Any) -> Any:
    return read_request(endpoint, {"prompt": "a cat"} | fields)


def _create(kind: str, endpoint: str = "omni-image", **fields: Any) -> dict[str, Any]:
    call = provider(kind).create_call(_request(endpoint, **fields), external_task_id=OURS, callback_url=CALLBACK)
    assert call.json is not None
    return dict(call.json)


def _problem_fields(kind: str, endpoint: str, **fields: Any) -> list[str]:
    return [each.field for each in provider(kind).problems_with(_request(endpoint, **fields))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("endpoint", "field", "value"), _cases(TAKES))
def test_a_documented_value_goes_out_on_the_wire(kind: str, endpoint: str, field: str, value: Any) -> None:
    beside = {"image_list": [{"image": URL}]} if value == "auto" else {}
    beside |= {"model_name": "kling-v3-omni"} if value == "4k" else {}

    sent = _create(kind, endpoint, **(beside | {field: value}))

    assert set(sent) >= {"prompt", "model_name", "callback_url", "external_task_id", field}
    if field not in {"element_list", "resolution"}:
        assert value == sent[field]


@pytest.mark.parametrize(("endpoint", "field", "value"), _cases(REFUSES))
def test_a_value_beyond_the_documented_is_refused_at_its_field(endpoint: str, field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _request(endpoint, **{field: value})

    assert {field} == {each.field.split(".")[0] for each in caught.value.problems}
    assert all(each.problem for each in caught.value.problems)


@pytest.mark.parametrize("endpoint", TAKES)
def test_a_request_without_a_prompt_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request(endpoint, {})

    assert ["prompt"] == [each.field for each in caught.value.problems]


@pytest.mark.parametrize("fields", [None, [], "x", 7])
def test_a_request_that_is_no_object_is_refused(fields: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_request("omni-image", fields)

    assert ["request"] == [each.field for each in caught.value.problems]


def test_an_unknown_endpoint_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="omni-image, generations"):
        read_request("videos", {"prompt": "x"})


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        _request(n=10, resolution="8k", surprise=1)

    assert {"n", "resolution", "surprise"} == {each.field for each in caught.value.problems}


@pytest.mark.parametrize("field", ["callback_url", "external_task_id"])
def test_what_the_journal_sets_is_refused_with_that_reason(field: str) -> None:
    with pytest.raises(InvalidRequest, match="journal"):
        _request(**{field: "x"})


# --- by provider


@pytest.mark.parametrize(
    ("kind", "endpoint", "model"),
    [
        ("kling", "omni-image", "kling-image-o1"),
        ("cometapi", "omni-image", "kling-image-o1"),
        ("powertokens", "omni-image", "kling-v3-omni"),
        ("kling", "generations", "kling-v3"),
        ("cometapi", "generations", "kling-v3"),
        ("powertokens", "generations", "kling-v3"),
    ],
)
def test_a_model_is_always_sent(kind: str, endpoint: str, model: str) -> None:
    assert model == _create(kind, endpoint)["model_name"]


@pytest.mark.parametrize(
    ("kind", "endpoint", "model", "is_taken"),
    [
        ("kling", "omni-image", "kling-image-o1", True),
        ("cometapi", "omni-image", "kling-image-o1", True),
        ("powertokens", "omni-image", "kling-image-o1", False),
        ("kling", "omni-image", "kling-v3", False),
        ("kling", "generations", "kling-v3-omni", False),
        ("cometapi", "generations", "kling-v9", False),
    ],
)
def test_each_provider_takes_its_own_models(kind: str, endpoint: str, model: str, is_taken: bool) -> None:
    assert ([] if is_taken else ["model_name"]) == _problem_fields(kind, endpoint, model_name=model)


def test_a_model_newer_than_this_program_is_one_flag_away() -> None:
    account = provider("kling", flags={"extra_models": ["kling-v9"]})

    assert [] == account.problems_with(_request(model_name="kling-v9"))


@pytest.mark.parametrize(("kind", "sent"), [("kling", "4k"), ("cometapi", "4k"), ("powertokens", "4K")])
def test_4k_is_spelt_as_the_provider_prints_it(kind: str, sent: str) -> None:
    assert sent == _create(kind, resolution="4k", model_name="kling-v3-omni")["resolution"]


@pytest.mark.parametrize("kind", ["kling", "cometapi"])
def test_the_older_model_has_no_4k(kind: str) -> None:
    assert ["resolution"] == _problem_fields(kind, "omni-image", resolution="4k", model_name="kling-image-o1")


@pytest.mark.parametrize(("kind", "problems"), [("kling", []), ("powertokens", []), ("cometapi", ["series_amount"])])
def test_a_series_of_auto_is_taken_by_two_of_three(kind: str, problems: list[str]) -> None:
    fields = {"result_type": "series", "series_amount": "auto", "model_name": "kling-v3-omni"}

    assert problems == _problem_fields(kind, "omni-image", **fields)


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({}, ["aspect_ratio"]),
        ({"image_list": [{"image": URL}]}, []),
        ({"element_list": [{"element_id": 1}]}, []),
    ],
)
def test_an_auto_ratio_needs_something_to_follow(fields: dict[str, Any], problems: list[str]) -> None:
    said = {"aspect_ratio": "auto", "model_name": "kling-v3-omni"} | fields

    assert problems == _problem_fields("kling", "omni-image", **said)


@pytest.mark.parametrize(
    ("kind", "endpoint", "said", "sent"),
    [
        ("kling", "omni-image", "867283741759111202", 867283741759111202),
        ("powertokens", "omni-image", "867283741759111202", 867283741759111202),
        ("cometapi", "omni-image", "867283741759111202", "867283741759111202"),
        ("cometapi", "omni-image", 867283741759111202, 867283741759111202),
        ("cometapi", "generations", "867283741759111202", 867283741759111202),
        ("kling", "generations", 9_007_199_254_740_993, 9_007_199_254_740_993),
    ],
)
def test_an_element_s_id_keeps_every_digit_and_its_documented_type(
    kind: str, endpoint: str, said: Any, sent: Any
) -> None:
    wire = _create(kind, endpoint, element_list=[{"element_id": said}])["element_list"][0]["element_id"]

    assert (sent, type(sent)) == (wire, type(wire))
    assert str(said) in json.dumps(wire)


@pytest.mark.parametrize(
    ("kind", "endpoint", "is_taken"),
    [
        ("kling", "omni-image", False),
        ("powertokens", "omni-image", False),
        ("cometapi", "omni-image", True),
        ("cometapi", "generations", False),
    ],
)
@pytest.mark.parametrize("element_id", ["el-x", "\u0661\u0662", "", "-1"])
def test_an_element_s_id_in_letters_is_comet_s_alone(kind: str, endpoint: str, is_taken: bool, element_id: str) -> None:
    problems = _problem_fields(kind, endpoint, element_list=[{"element_id": 1}, {"element_id": element_id}])

    assert ([] if is_taken else ["element_list.1.element_id"]) == problems


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("images", "elements", "is_taken"), [(5, 5, True), (6, 5, False), (0, 11, False), (11, 0, False)]
)
def test_images_and_elements_are_ten_together(kind: str, images: int, elements: int, is_taken: bool) -> None:
    fields = {
        "image_list": [{"image": URL}] * images,
        "element_list": [{"element_id": number} for number in range(elements)],
    }

    assert images + elements == references_in(_request(**fields))
    assert ([] if is_taken else ["image_list"]) == _problem_fields(kind, "omni-image", **fields)


def test_a_negative_prompt_does_not_go_with_an_image() -> None:
    assert ["negative_prompt"] == _problem_fields("kling", "generations", negative_prompt="n", image=URL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_create_is_a_post_with_our_id_and_our_address(kind: str) -> None:
    call = provider(kind).create_call(_request(), external_task_id=OURS, callback_url=CALLBACK)

    prefix = "" if kind == "kling" else "/kling"
    assert ("POST", f"{prefix}/v1/images/omni-image") == (call.method, call.path)
    assert (OURS, CALLBACK) == (call.json["external_task_id"], call.json["callback_url"])


@pytest.mark.parametrize(("length", "is_taken"), [(2_048, True), (2_049, False)])
def test_a_callback_url_has_at_most_2048_characters(length: int, is_taken: bool) -> None:
    url = CALLBACK.ljust(length, "x")

    if is_taken:
        provider().create_call(_request(), external_task_id=OURS, callback_url=url)
    else:
        with pytest.raises(InvalidRequest, match="callback_url"):
            provider().create_call(_request(), external_task_id=OURS, callback_url=url)


@pytest.mark.parametrize("kind", KINDS)
def test_only_fields_that_were_set_are_sent(kind: str) -> None:
    """CometAPI refuses unknown fields, and null is not documented for any."""
    assert {"prompt", "model_name", "callback_url", "external_task_id"} == set(_create(kind))


# --- how many images


@pytest.mark.parametrize(
    ("fields", "asked", "slots"),
    [
        ({}, 1, 1),
        ({"n": 9}, 9, 9),
        ({"n": 3, "result_type": "single", "series_amount": 5}, 3, 3),
        ({"n": 9, "result_type": "series"}, 4, 4),
        ({"result_type": "series", "series_amount": 7}, 7, 7),
        ({"result_type": "series", "series_amount": "auto"}, None, 9),
    ],
)
def test_n_counts_for_singles_and_series_amount_for_a_series(
    fields: dict[str, Any], asked: int | None, slots: int
) -> None:
    request = _request(**fields)

    assert (asked, slots) == (request.images_asked, slots_held(request))


# --- digests and ids


def test_a_request_s_digest_does_not_depend_on_the_order_of_its_keys() -> None:
    assert request_digest("omni-image", {"a": 1, "b": {"c": 2, "d": 3}}) == request_digest(
        "omni-image", {"b": {"d": 3, "c": 2}, "a": 1}
    )


@pytest.mark.parametrize(
    "other", [("generations", {"a": 1}), ("omni-image", {"a": "1"}), ("omni-image", {"a": 1, "b": None})]
)
def test_another_request_has_another_digest(other: tuple[str, dict[str, Any]]) -> None:
    assert request_digest("omni-image", {"a": 1}) != request_digest(*other)


@given(now=st.integers(0, 2**48 - 1))
def test_an_id_is_a_letter_an_underscore_and_a_ulid(now: int) -> None:
    minted = new_external_task_id(now=now)

    assert re.fullmatch(r"t_[0-9A-HJKMNP-TV-Z]{26}", minted)
    assert minted == check_external_task_id(minted)


@given(moments=st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=8, unique=True))
def test_ids_minted_later_sort_later(moments: list[int]) -> None:
    minted = [new_external_task_id(now=moment) for moment in sorted(moments)]

    assert all(earlier < later for earlier, later in pairwise(minted))


def test_ids_of_one_moment_differ_in_each_of_their_80_random_bits() -> None:
    """Among 400 ids every bit is seen both ways: a bit that is stuck would have a chance of 1 in 2^400."""
    crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    numbers = [
        sum(crockford.index(letter) << 5 * place for place, letter in enumerate(reversed(minted[2:])))
        for minted in (new_external_task_id(now=NOW) for _ in range(400))
    ]

    seen_one, seen_zero = 0, 0
    for number in numbers:
        assert NOW == number >> 80
        seen_one |= number & (1 << 80) - 1
        seen_zero |= ~number & (1 << 80) - 1
    assert (1 << 80) - 1 == seen_one == seen_zero
    assert 400 == len(set(numbers))


@pytest.mark.parametrize("ours", ["a", "A-_9", "x" * 64, "9lives", "-"])
def test_a_caller_s_own_id_may_be_any_of_the_documented_characters(ours: str) -> None:
    assert ours == check_external_task_id(ours)


@pytest.mark.parametrize("theirs", ["", "x" * 65, "a b", "a/b", "ä", "a\n", "a\x00", "..", "\u0661", "probe"])
def test_any_other_id_is_refused(theirs: str) -> None:
    with pytest.raises(InvalidRequest, match="external_task_id"):
        check_external_task_id(theirs)
