"""PowerTokens: one model, other letters for 4k, and answers that may be wrapped (wire.md §1-3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from submitter.providers.base import Capabilities
from submitter.providers.family import KLING_RESULT_LIFETIME, POLL_INTERVAL, KlingFamily
from submitter.request import Endpoint, ImageRequest


class PowerTokens(KlingFamily):
    """An account at PowerTokens."""

    prefix: ClassVar[str] = "/kling"
    models: ClassVar[Mapping[Endpoint, tuple[str, ...]]] = {
        **KlingFamily.models,
        "omni-image": ("kling-v3-omni",),  # D: required, and the only one
    }
    default_models: ClassVar[Mapping[Endpoint, str]] = {
        **KlingFamily.default_models,
        "omni-image": "kling-v3-omni",
    }
    assumed: ClassVar[Capabilities] = Capabilities(
        query_by_external_id=True,  # D; a store keyed on task id would miss it, which is then a look-up in vain
        list_query=False,  # ?
        batch_query=False,  # ?
        signs_callbacks=False,
        callback_id_is_task_id=False,  # I
        poll_interval=POLL_INTERVAL,
        result_lifetime=KLING_RESULT_LIFETIME,  # I: the upstream's
    )

    def _wire_fields(self, request: ImageRequest) -> dict[str, Any]:
        """The page prints `1k, 2k, 4K`: the last is sent with the letter it shows (D)."""
        fields = super()._wire_fields(request)
        if fields.get("resolution") == "4k":
            fields["resolution"] = "4K"
        return fields
