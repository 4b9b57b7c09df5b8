"""CometAPI: Kling's endpoints behind a gateway that balances accounts (wire.md §1-5)."""

from __future__ import annotations

from typing import Any, ClassVar

from submitter.errors import FieldProblem
from submitter.providers.base import Capabilities
from submitter.providers.family import POLL_INTERVAL, KlingFamily
from submitter.request import ImageRequest, OmniImageRequest


class CometApi(KlingFamily):
    """An account at CometAPI. It finds tasks by its own id only, so an unanswered create is never sent again."""

    prefix: ClassVar[str] = "/kling"
    assumed: ClassVar[Capabilities] = Capabilities(
        query_by_external_id=False,  # D: the path takes the "task ID returned by POST"
        list_query=False,  # D: "not a public query endpoint"
        batch_query=False,
        signs_callbacks=False,
        callback_id_is_task_id=False,  # I: the callback may carry the upstream's id
        poll_interval=POLL_INTERVAL,
        result_lifetime=None,  # D: "can expire"
    )

    def _element_problems(self, request: ImageRequest) -> list[FieldProblem]:
        """This gateway takes text ids too, on omni-image (D)."""
        return [] if isinstance(request, OmniImageRequest) else super()._element_problems(request)

    def _omni_problems(self, request: OmniImageRequest) -> list[FieldProblem]:
        problems = super()._omni_problems(request)
        if request.series_amount == "auto":
            problems.append(FieldProblem("series_amount", "CometAPI takes no auto: write a number from 2 to 9"))
        return problems

    def _wire_fields(self, request: ImageRequest) -> dict[str, Any]:
        """Element ids leave as they were given: both types are documented here."""
        if not isinstance(request, OmniImageRequest):
            return super()._wire_fields(request)
        return {"model_name": self._model(request), **request.wire_fields()}
