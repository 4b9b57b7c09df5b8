"""What each gateway accepts at create."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.answers import Endpoint, Gateway, Refusal
from sandbox.validation import FIELDS, Order, read_order

NAMES = sorted({name for fields in FIELDS.values() for name in fields})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["auto", "4k", "series"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["image", "element_id"]), inner),
    max_leaves=5,
)
EVERYWHERE = [(gateway, endpoint) for gateway in Gateway for endpoint in Endpoint]


def judged(gateway=Gateway.KLING, endpoint=Endpoint.OMNI_IMAGE, /, **fields):
    model = {"model_name": "kling-v3-omni" if endpoint is Endpoint.OMNI_IMAGE else "kling-v3"}
    return read_order(gateway, endpoint, {"prompt": "a fox", **model, **fields})


@pytest.mark.parametrize(("gateway", "endpoint"), EVERYWHERE)
def test_a_plain_order_is_accepted(gateway, endpoint):
    order = judged(gateway, endpoint, n=3, external_task_id="t_1", callback_url="http://127.0.0.1:1/x")

    assert isinstance(order, Order)
    assert (3, "t_1", "1k") == (order.image_count, order.external_task_id, order.resolution)


@pytest.mark.parametrize(("gateway", "endpoint"), EVERYWHERE)
@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (1200, {"prompt": None}),
        (1200, {"prompt": "  "}),
        (1200, {"prompt": 7}),
        (1201, {"prompt": "x" * 2501}),
        (1201, {"model_name": "kling-v9"}),
        (1200, {"n": "3"}),
        (1200, {"n": True}),
        (1201, {"n": 0}),
        (1201, {"n": 10}),
        (1201, {"resolution": "8k"}),
        (1201, {"aspect_ratio": "5:4"}),
        (1201, {"aspect_ratio": "auto"}),
        (1200, {"watermark_info": {"enabled": "yes"}}),
        (1200, {"element_list": [{"id": 1}]}),
        (1200, {"element_list": [{"element_id": 1.5}]}),
        (1201, {"element_list": [{"element_id": 1}] * 11}),
        (1200, {"external_task_id": 5}),
        (1201, {"callback_url": "ftp://example.com/x"}),
        (1201, {"callback_url": "https://user@example.com/x"}),
        (1201, {"callback_url": "https://example.com/x#part"}),
        (1201, {"callback_url": "https://example.com:port/x"}),
        (1201, {"callback_url": "https://example.com/" + "x" * 2048}),
    ],
)
def test_an_unfit_field_is_refused(gateway, endpoint, code, fields):
    refusal = judged(gateway, endpoint, **fields)

    assert isinstance(refusal, Refusal)
    assert (400, code) == (refusal.http_status, refusal.code)


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_a_body_that_is_no_object_is_refused(body):
    assert 1200 == read_order(Gateway.KLING, Endpoint.OMNI_IMAGE, body).code


@pytest.mark.parametrize(
    "fields",
    [
        {"result_type": "many"},
        {"series_amount": 1},
        {"series_amount": 10},
        {"image_list": [{"image": "data:image/png;base64,AAAA"}]},
        {"image_list": [{"image": "https://x/1.png"}] * 6, "element_list": [{"element_id": 1}] * 5},
        {"model_name": "kling-image-o1", "resolution": "4k"},
    ],
)
def test_omni_image_has_its_own_limits(fields):
    assert 1201 == judged(**fields).code


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (1201, {"resolution": "4k"}),
        (1201, {"image_fidelity": 1.1}),
        (1200, {"human_fidelity": "much"}),
        (1201, {"image_reference": "style"}),
        (1201, {"image": "aGVsbG8=", "negative_prompt": "no"}),
        (1201, {"negative_prompt": "x" * 2501}),
    ],
)
def test_generations_has_its_own_limits(code, fields):
    assert code == judged(Gateway.KLING, Endpoint.GENERATIONS, **fields).code


@pytest.mark.parametrize(("gateway", "endpoint"), EVERYWHERE)
@given(body=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6))
def test_whatever_comes_is_an_order_or_a_refusal(gateway, endpoint, body):
    assert isinstance(read_order(gateway, endpoint, {"prompt": "a fox", **body}), Order | Refusal)


def test_only_cometapi_refuses_unknown_fields_of_omni_image():
    assert isinstance(judged(Gateway.COMETAPI, surprise=1), Refusal)
    assert isinstance(judged(Gateway.COMETAPI, Endpoint.GENERATIONS, surprise=1), Order)
    assert isinstance(judged(Gateway.KLING, surprise=1), Order)
    assert isinstance(judged(Gateway.POWERTOKENS, surprise=1), Order)


def test_powertokens_wants_its_one_model_named():
    unnamed = read_order(Gateway.POWERTOKENS, Endpoint.OMNI_IMAGE, {"prompt": "a fox"})

    assert 1200 == unnamed.code
    assert 1201 == judged(Gateway.POWERTOKENS, model_name="kling-image-o1").code


def test_element_ids_are_text_only_at_cometapi():
    assert isinstance(judged(Gateway.COMETAPI, element_list=[{"element_id": "812345678901234567"}]), Order)
    assert isinstance(judged(Gateway.KLING, element_list=[{"element_id": "812345678901234567"}]), Refusal)


def test_a_series_counts_its_own_amount_and_auto_is_four():
    assert 6 == judged(result_type="series", series_amount=6, n=2).image_count
    assert 4 == judged(result_type="series", series_amount="auto").image_count
    assert 1201 == judged(Gateway.COMETAPI, result_type="series", series_amount="auto").code


def test_the_case_of_a_resolution_does_not_matter():
    assert "4k" == judged(Gateway.POWERTOKENS, resolution="4K").resolution
