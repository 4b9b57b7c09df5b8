"""Pictures that a request holds itself: taken out, shown as digests, put back before it is sent. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from submitter.inputimage import is_inline


def take_out(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The request with `{"sha256", "bytes"}` in place of each base64 picture, and the pictures by SHA-256."""
    pictures: dict[str, str] = {}

    def taken_out(image: Any) -> Any:
        if not isinstance(image, str) or not is_inline(image):
            return image
        sha256 = hashlib.sha256(image.encode()).hexdigest()
        pictures[sha256] = image
        return {"sha256": sha256, "bytes": len(image) * 3 // 4 - image[-2:].count("=")}

    return _with_each_image(fields, taken_out), pictures


def put_back(fields: Mapping[str, Any], pictures: Mapping[str, str]) -> dict[str, Any]:
    """The request as it was; a picture that is not among them stays a digest."""

    def put(image: Any) -> Any:
        return pictures.get(image["sha256"], image) if isinstance(image, dict) else image

    return _with_each_image(fields, put)


def _with_each_image(fields: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    changed = dict(fields)
    if "image" in changed:
        changed["image"] = change(changed["image"])
    if changed.get("image_list"):
        changed["image_list"] = [{**each, "image": change(each["image"])} for each in changed["image_list"]]
    return changed
