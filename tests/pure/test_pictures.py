"""Pictures to start from: their limits, and how they leave and come back to a request."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.inlinepictures import put_back, take_out
from submitter.inputimage import MAX_BYTES, is_inline, pixel_size, problem_with_image

URL = "https://h.example.com/cat.png"


def _png(width: int, height: int) -> bytes:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    return head + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"


def _jpeg(width: int, height: int, *, frame: int = 0xC0, before: bytes = b"") -> bytes:
    app0 = b"\xff\xe0\x00\x10JFIF\0" + bytes(9)
    sof = bytes([0xFF, frame]) + b"\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes(10)
    return b"\xff\xd8" + app0 + before + sof


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("make", [_png, _jpeg])
@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (300, 300, None),
        (299, 300, "299x300"),
        (300, 299, "300x299"),
        (750, 300, None),
        (300, 750, None),
        (751, 300, "ratio"),
        (300, 751, "ratio"),
        (4_000, 4_000, None),
    ],
)
def test_sides_and_ratio_are_the_documented_ones(make: Any, width: int, height: int, words: str | None) -> None:
    problem = problem_with_image(_text(make(width, height)))

    assert (width, height) == pixel_size(make(width, height))
    assert (words is None) == (problem is None)
    assert words is None or words in problem


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCF])
def test_every_kind_of_jpeg_tells_its_size(frame: int) -> None:
    assert (640, 480) == pixel_size(_jpeg(640, 480, frame=frame))


@pytest.mark.parametrize("table", [b"\xff\xc4\x00\x04ab", b"\xff\xdb\x00\x03a", b"\xff\xfe\x00\x02", b"\xff\xff"])
def test_what_stands_before_a_jpeg_s_frame_is_passed_over(table: bytes) -> None:
    before = table if table != b"\xff\xff" else b"\xff"

    assert (640, 480) == pixel_size(_jpeg(640, 480, before=before))


@pytest.mark.parametrize(
    "content", [b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8" + bytes(20), b"RIFF0000WEBP"]
)
def test_bytes_that_tell_no_size_are_left_to_the_provider(content: bytes) -> None:
    assert pixel_size(content) is None
    assert problem_with_image(_text(content)) is None


@given(
    content=st.binary(max_size=80), head=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
)
def test_any_bytes_tell_a_size_or_none(content: bytes, head: bytes) -> None:
    size = pixel_size(head + content)

    assert size is None or len(size) == 2


@pytest.mark.parametrize(("length", "is_taken"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_ten_megabytes_are_the_most(length: int, is_taken: bool) -> None:
    problem = problem_with_image(_text(bytes(length)))

    assert is_taken == (problem is None)
    assert is_taken or str(length) in problem


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "empty"),
        ("https://", "no URL"),
        ("data:image/png;base64,AAAA", "prefix"),
        ("not base64", "https:// or plain base64"),
        ("AAA", "https:// or plain base64"),
        ("é", "https:// or plain base64"),
        ("ftp://h/x.png", "https:// or plain base64"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(image: str, words: str) -> None:
    assert words in (problem_with_image(image) or "")


@pytest.mark.parametrize("image", [URL, "http://h/x"])
def test_a_url_s_picture_is_left_to_the_provider(image: str) -> None:
    assert problem_with_image(image) is None
    assert not is_inline(image)


# --- out and back

INLINE = st.binary(max_size=30).map(_text)
IMAGES = INLINE | st.just(URL)
REQUESTS = st.fixed_dictionaries(
    {"prompt": st.text(max_size=5)},
    optional={"image": IMAGES, "image_list": st.lists(st.fixed_dictionaries({"image": IMAGES}), max_size=4)},
)


@given(fields=REQUESTS)
def test_pictures_taken_out_and_put_back_are_the_request_as_it_was(fields: dict[str, Any]) -> None:
    without, pictures = take_out(fields)

    assert fields == put_back(without, pictures)


@given(fields=REQUESTS, content=st.binary(min_size=1, max_size=30))
def test_what_is_shown_of_a_picture_is_its_digest_and_its_size(fields: dict[str, Any], content: bytes) -> None:
    shown = take_out(fields | {"image": _text(content)})[0]["image"]

    assert {"sha256": hashlib.sha256(_text(content).encode()).hexdigest(), "bytes": len(content)} == shown


def test_a_url_stays_where_it_is() -> None:
    fields = {"prompt": "p", "image_list": [{"image": URL}]}

    assert (fields, {}) == take_out(fields)


def test_the_same_picture_twice_is_kept_once() -> None:
    picture = _text(_png(300, 300))

    _, pictures = take_out({"image_list": [{"image": picture}, {"image": picture}]})

    assert [picture] == [*pictures.values()]


def test_the_request_that_was_given_is_left_as_it_was() -> None:
    fields = {"image": _text(b"x"), "image_list": [{"image": _text(b"y")}]}
    before = repr(fields)

    take_out(fields)

    assert before == repr(fields)


def test_a_picture_that_is_gone_stays_a_digest() -> None:
    without, _ = take_out({"image": _text(b"x")})

    assert without == put_back(without, {})
