"""How what a report tells besides its status merges into a task: ids, images, units, times. Pure.

The order in which reports come must not show in the end (`tests/pure/test_orders.py` tries all of them), so
ties are broken by the values themselves, never by who came first.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from receiver.task import FINAL_OF_STATE, Source, Task, TaskImage
from receiver.values import replace
from submitter.report import ReportedStatus, ResultImage, StatusReport

_ID_RANK = {Source.CALLBACK: 0, Source.QUERY: 1, Source.ANSWER: 2}


def merge_facts(task: Task, report: StatusReport, *, source: Source, is_proof: bool) -> Task:
    """The task with every fact of the report that it did not know better."""
    contradicts = task.is_settled and report.is_final and report.status is not FINAL_OF_STATE[task.state]
    merged = merge_ids(task, report.provider_task_id, source=source)
    if not contradicts:
        replaces = source is not Source.CALLBACK or (is_proof and not task.images_proven)
        merged = _merge_images(merged, report, replaces=replaces, is_proof=is_proof)
    if contradicts or (merged.is_proven and not is_proof):
        return merged
    unit_deduction = merged.unit_deduction or report.unit_deduction
    balance_deduction = merged.balance_deduction or report.balance_deduction
    created_at = merged.provider_created_at or report.created_at
    updated_at = _latest(merged.provider_updated_at, report.updated_at)
    known = (
        merged.unit_deduction,
        merged.balance_deduction,
        merged.provider_created_at,
        merged.provider_updated_at,
    )
    if known == (unit_deduction, balance_deduction, created_at, updated_at):
        return merged
    return replace(
        merged,
        unit_deduction=unit_deduction,
        balance_deduction=balance_deduction,
        provider_created_at=created_at,
        provider_updated_at=updated_at,
    )


def merge_ids(task: Task, heard: str | None, *, source: Source) -> Task:
    """The create answer's id is the one to ask by, then a query's, then a callback's; another is the upstream's.

    Of two ids by equal roads the smaller is kept, and of several others the smallest.
    """
    if heard is None or heard == task.task_id:
        return _with_better_source(task, source) if heard is not None else task
    if task.task_id is None or task.task_id_source is None:
        return replace(task, task_id=heard, task_id_source=source)
    rank, known_rank = _ID_RANK[source], _ID_RANK[task.task_id_source]
    if rank > known_rank or (rank == known_rank and heard < task.task_id):
        others = {task.task_id, task.upstream_task_id} - {heard, None}
        return replace(task, task_id=heard, task_id_source=source, upstream_task_id=_smallest(others))
    return replace(task, upstream_task_id=_smallest({heard, task.upstream_task_id} - {None}))


def _with_better_source(task: Task, source: Source) -> Task:
    known = task.task_id_source
    if known is not None and _ID_RANK[known] >= _ID_RANK[source]:
        return task
    return replace(task, task_id_source=source)


def _merge_images(task: Task, report: StatusReport, *, replaces: bool, is_proof: bool) -> Task:
    """By index. A query replaces what was called back, a signed callback what was not proven; the rest fills in."""
    if not report.images or (task.images_proven and not is_proof):
        return task
    reported = proven_images(report, task.images)
    if replaces:
        proven = task.images if task.images_proven and task.images_asked is not None else ()
        images = _filled(reported, proven, task.images_asked)
        return replace(task, images=images, images_proven=report.status is ReportedStatus.SUCCEED)
    if task.images_proven:
        images = _filled(task.images, reported, task.images_asked or len(task.images))
    else:
        images = _filled(_completed(task.images, reported), reported, task.images_asked)
    return task if images == task.images else replace(task, images=images)


def contradicts_images(known: tuple[TaskImage, ...], report: StatusReport) -> bool:
    """Whether the report shows another image in a place that is known."""
    paths = {image.index: _path(image.url) for image in known}
    return any(paths.get(image.index, _path(image.url)) != _path(image.url) for image in report.images)


def proven_images(report: StatusReport, known: tuple[TaskImage, ...]) -> tuple[TaskImage, ...]:
    """The report's images and no others, each with our copy of it where there is one."""
    return tuple([_as_known(image, known) for image in report.images])


def _as_known(image: ResultImage, known: Iterable[TaskImage]) -> TaskImage:
    """The reported image, with our archived copy of it where it is the same image."""
    archived = None
    for each in known:
        if each.index == image.index and _path(each.url) == _path(image.url):
            archived = each.archived
            break
    return TaskImage(index=image.index, url=image.url, watermark_url=image.watermark_url, archived=archived)


def _completed(known: tuple[TaskImage, ...], reported: Iterable[TaskImage]) -> tuple[TaskImage, ...]:
    """The known images, with a watermarked copy where the same image came with one."""
    if all(each.watermark_url for each in known):
        return known
    watermarks = {(each.index, _path(each.url)): each.watermark_url for each in reported}
    return tuple(
        replace(each, watermark_url=each.watermark_url or watermarks.get((each.index, _path(each.url))))
        for each in known
    )


def _filled(first: tuple[TaskImage, ...], second: Iterable[TaskImage], most: int | None) -> tuple[TaskImage, ...]:
    """`first`, and of `second` the places that `first` leaves open, up to `most` images in all."""
    taken = {image.index for image in first}
    more = sorted([image for image in second if image.index not in taken], key=_by_index)
    room = len(more) if most is None else max(0, most - len(first))
    return tuple(sorted((*first, *more[:room]), key=_by_index))


_by_index = attrgetter("index")


def _path(url: str) -> str:
    """The URL without its query: signed anew, it is the same image."""
    return url.partition("?")[0]


def _smallest(ids: Iterable[str | None]) -> str | None:
    return min((each for each in ids if each is not None), default=None)


def _latest(known: int | None, reported: int | None) -> int | None:
    return max((each for each in (known, reported) if each is not None), default=None)
