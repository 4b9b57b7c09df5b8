"""What can be asked for: the two endpoints' requests with every documented field.

The limits are the documented ones of wire.md §2. What one provider accepts and another does not is that
provider's `problems_with`; here stands only what holds for all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from submitter.errors import FieldProblem, InvalidRequest
from submitter.inputimage import problem_with_image

Endpoint: TypeAlias = Literal["omni-image", "generations"]

MAX_PROMPT = 2_500
MAX_REFERENCES = 10  # images and elements together
SERIES_UNLESS_SAID = 4
SERIES_MOST = 9

Prompt = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PROMPT)]
_OUR_SIDE = {"callback_url", "external_task_id"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # a receiver may never see one


class InputImage(_Part):
    """One picture to start from: a URL, or base64 without a `data:` prefix; at most 10 MB, sides of 300 px or more."""

    image: str

    @field_validator("image")
    @classmethod
    def _documented(cls, image: str) -> str:
        return _checked_image(image)


class Element(_Part):
    """A subject from the account's element library. Ids exceed 2^53: in JSON, a client may need text."""

    element_id: int | str


class WatermarkInfo(_Part):
    """Whether a second, watermarked copy of each image is made."""

    enabled: bool


class _ImageRequest(_Part):
    endpoint: ClassVar[Endpoint]

    def wire_fields(self) -> dict[str, Any]:
        """The JSON fields that were set, as the wire names them."""
        return self.model_dump(mode="json", exclude_none=True)


class OmniImageRequest(_ImageRequest):
    """`POST …/images/omni-image`. `<<<image_1>>>` in the prompt cites the first of `image_list`."""

    endpoint: ClassVar[Endpoint] = "omni-image"

    prompt: Prompt
    model_name: str | None = None
    image_list: tuple[InputImage, ...] | None = None
    element_list: tuple[Element, ...] | None = None
    resolution: Literal["1k", "2k", "4k"] | None = None
    result_type: Literal["single", "series"] | None = None
    n: int | None = Field(default=None, ge=1, le=9)
    series_amount: Annotated[int, Field(ge=2, le=SERIES_MOST)] | Literal["auto"] | None = None
    aspect_ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto"] | None = None
    watermark_info: WatermarkInfo | None = None

    @property
    def is_series(self) -> bool:
        """Whether the images belong together: the answer then holds them as `series_images`."""
        return self.result_type == "series"

    @property
    def images_asked(self) -> int | None:
        """`n` for single results, `series_amount` for a series, None for a series of `auto`."""
        if not self.is_series:
            return self.n or 1
        amount = self.series_amount or SERIES_UNLESS_SAID
        return None if amount == "auto" else amount


class ImageGenerationRequest(_ImageRequest):
    """`POST …/images/generations`."""

    endpoint: ClassVar[Endpoint] = "generations"

    prompt: Prompt
    model_name: str | None = None
    negative_prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT)] | None = None
    image: str | None = None
    image_reference: Literal["subject", "face"] | None = None
    image_fidelity: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    human_fidelity: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    element_list: tuple[Element, ...] | None = None
    resolution: Literal["1k", "2k"] | None = None
    n: int | None = Field(default=None, ge=1, le=9)
    aspect_ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"] | None = None
    watermark_info: WatermarkInfo | None = None

    @field_validator("image")
    @classmethod
    def _documented(cls, image: str | None) -> str | None:
        return None if image is None else _checked_image(image)

    @property
    def is_series(self) -> bool:
        """Never: this endpoint knows no series."""
        return False

    @property
    def images_asked(self) -> int:
        """`n`, which the provider reads as 1 where it is left out."""
        return self.n or 1


ImageRequest: TypeAlias = OmniImageRequest | ImageGenerationRequest
REQUESTS: Mapping[str, type[OmniImageRequest] | type[ImageGenerationRequest]] = {
    "omni-image": OmniImageRequest,
    "generations": ImageGenerationRequest,
}


def read_request(endpoint: str, fields: object) -> ImageRequest:
    """The request in JSON's own terms, checked. Raises InvalidRequest, field by field."""
    model = REQUESTS.get(endpoint)
    if model is None:
        raise InvalidRequest([FieldProblem("endpoint", f"must be one of {', '.join(REQUESTS)}")])
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest([_in_words(each) for each in error.errors(include_url=False)]) from None


def references_in(request: ImageRequest) -> int:
    """How many pictures and elements the request starts from."""
    images = request.image_list if isinstance(request, OmniImageRequest) else request.image and (request.image,)
    return len(images or ()) + len(request.element_list or ())


def slots_held(request: ImageRequest) -> int:
    """How many of the account's parallel slots the task takes: its images (wire.md §5)."""
    return request.images_asked or SERIES_MOST


def request_digest(endpoint: str, fields: Mapping[str, Any]) -> bytes:
    """32 bytes that are the same for the same request, whatever the order of its keys."""
    canonical = json.dumps([endpoint, fields], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


def _checked_image(image: str) -> str:
    problem = problem_with_image(image)
    if problem is not None:
        raise ValueError(problem)
    return image


def _in_words(error: Any) -> FieldProblem:
    field = ".".join(str(part) for part in error["loc"]) or "request"
    if error["type"] != "extra_forbidden":
        return FieldProblem(field, error["msg"].removeprefix("Value error, "))
    if field in _OUR_SIDE:
        return FieldProblem(field, "is set by the journal: leave it out of the request")
    return FieldProblem(field, "is no field of this endpoint: leave it out")
