"""What a create will cost in the provider's units, as far as anyone can know, and when a day's are used up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from submitter.moments import Moment, millis

DAY = timedelta(days=1)
UNITS_OF_AN_IMAGE = 8.0  # wire.md §3: the documented example; nobody documents a price list
UNITS_OF_A_LARGE_IMAGE = 16.0
_LARGE = "4k"


def day_of(now: Moment) -> Moment:
    """The beginning of the day, UTC."""
    return now - now % millis(DAY)


def class_of(endpoint: str, request: Mapping[str, Any]) -> str:
    """What has one price for each image: endpoint, model and resolution, as the request names them."""
    resolution = str(request.get("resolution") or "1k").lower()
    return f"{endpoint}/{request.get('model_name') or 'default'}/{resolution}"


def estimate(class_: str, images: int, *, seen: float | None) -> float:
    """Units for so many images: by what such an image was `seen` to cost, else by the wire's own example."""
    otherwise = UNITS_OF_A_LARGE_IMAGE if class_.endswith(f"/{_LARGE}") else UNITS_OF_AN_IMAGE
    return images * (otherwise if seen is None else seen)


def reason_to_wait(units: float, *, taken: float, per_day: int) -> str | None:
    """Why a create must wait, if it must. The words stay the same while it does."""
    if units > per_day:
        return f"takes about {units:g} units, and limits.units_per_day is {per_day}: it waits until that is raised"
    if taken + units > per_day:
        return (
            f"takes about {units:g} units, and today's limits.units_per_day = {per_day} are spent or reserved: "
            "it is sent when the day turns (UTC), or that is raised"
        )
    return None


def fits_no_day(units: float, *, per_day: int) -> bool:
    """Whether it waits however the days turn: others are not kept waiting behind it."""
    return units > per_day
