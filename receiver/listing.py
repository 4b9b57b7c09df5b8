"""Asking for many in one request: a page of the list, a batch of ids, or each by itself; and what pays. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from receiver.schedule import Backoff
from submitter.moments import Moment, millis
from submitter.providers.base import MOST_IN_BATCH, MOST_LISTED

# Learned questions come some 14 s after the end at the 95th percentile, those of a fixed loop of 20 s after 19: with
# 10 s one seed in five was later than the loop, and with 6 none (docs/simulation.md).
LONGEST_PATIENCE = timedelta(seconds=6)
LEAST_TO_SHARE = 2  # tasks: a page or a batch that spoke of one has saved nothing
COMPANY = 4  # tasks due within the patience: fewer do not wait for each other
MOST_PAGES = 10  # how far down the list a task is looked for
IDLE_PAGES = 3  # that did not pay, one after the other: then the list is left alone for a while
LEFT_ALONE = Backoff(first=timedelta(minutes=10), factor=2, longest=timedelta(hours=6))
LONGEST_STRETCH = 20.0  # an account of which a twentieth is ours has no list worth reading
ANY_ENDPOINT = ""  # the endpoint of batches


class Shape(StrEnum):
    """How a question is put."""

    SINGLE = "single"
    BATCH = "batch"
    PAGE = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What an account lets us ask together, and how long a task that is due waits for others."""

    has_list: bool
    has_batch: bool
    patience: timedelta

    @property
    def is_possible(self) -> bool:
        """Whether anything can be asked together at all."""
        return self.has_list or self.has_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One request about many tasks. A page is counted from 1 and belongs to an endpoint; a batch has neither."""

    shape: Shape
    endpoint: str = ANY_ENDPOINT
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A task to be asked about. `rank` is how many of ours were submitted after it; None is beyond looking for."""

    key: int
    endpoint: str | None
    fits_page: bool  # no page failed to show it
    fits_batch: bool
    rank: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list has been good for. `stretch` is how many of its entries there are for each one of ours."""

    stretch: float = 1.0
    idle: int = 0  # pages that did not pay, one after the other
    resumes_at: Moment = 0
    asked_at: Mapping[int, Moment] = field(default_factory=dict)  # by page


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What to ask next: these tasks together, or, where `together` is None, each of them by itself."""

    keys: Sequence[int]
    together: Together | None = None


def choose(
    due: Sequence[Due],
    sharing: Sharing,
    listings: Mapping[str, Listing],
    *,
    soon: int,
    now: Moment,
) -> Round:
    """The request that covers the most of what is due, or those to be asked about by themselves.

    `soon` is how many more become due within the patience, `listings` have the records by endpoint. Where company is
    expected, what is due shortly after such a request waits for the next one, and is in nobody's round.
    """
    waiting: set[int] = set()
    best: Round | None = None
    for (endpoint, page), keys in _pages(due, sharing, listings, now=now).items():
        has_company = len(keys) + soon >= COMPANY
        asked_at = listings.get(endpoint, Listing()).asked_at.get(page, 0)
        if has_company and _is_fresh(asked_at, sharing, now=now):
            waiting.update(keys)
        elif (has_company or len(keys) >= LEAST_TO_SHARE) and (best is None or len(keys) > len(best.keys)):
            best = Round(keys=keys, together=Together(shape=Shape.PAGE, endpoint=endpoint, page=page))
    batch = _batch(due, sharing, waiting, batches := listings.get(ANY_ENDPOINT, Listing()), now=now)
    if best is not None and len(best.keys) >= len(batch):
        return best
    if len(batch) >= LEAST_TO_SHARE:
        is_fresh = _is_fresh(batches.asked_at.get(0, 0), sharing, now=now)
        if not (is_fresh and len(batch) < MOST_IN_BATCH and len(batch) + soon >= COMPANY):
            return Round(keys=batch, together=Together(shape=Shape.BATCH))
        waiting.update(batch)
    return Round(keys=[each.key for each in due if each.key not in waiting])


def before_page(listing: Listing, *, page: int, now: Moment) -> Listing:
    """The record of a list that is about to be asked for a page. Moments that matter no more are forgotten."""
    kept = {each: at for each, at in listing.asked_at.items() if at > now - millis(LONGEST_PATIENCE)}
    return replace(listing, asked_at={**kept, page: now})


def after_page(endpoint: str, listing: Listing, *, brought: int, ours: int, listed: int, now: Moment) -> Listing:
    """The list's record with one more page: of `listed` entries `ours` were tasks of this ledger, and `brought` news.

    A page pays where it brought more than a question by itself would have.
    """
    idle = 0 if brought >= LEAST_TO_SHARE else listing.idle + 1
    resumes_at = listing.resumes_at
    if idle >= IDLE_PAGES:
        resumes_at = LEFT_ALONE.next_at(endpoint, attempt=idle - IDLE_PAGES, now=now)
    stretch = min(listed / ours, LONGEST_STRETCH) if ours else listing.stretch
    return replace(listing, stretch=stretch, idle=idle, resumes_at=resumes_at)


def without_page(endpoint: str, listing: Listing, *, now: Moment) -> Listing:
    """The record of a list that did not answer, or not with a list: it is left alone at once."""
    idle = max(listing.idle + 1, IDLE_PAGES)
    resumes_at = LEFT_ALONE.next_at(endpoint, attempt=idle - IDLE_PAGES, now=now)
    return replace(listing, idle=idle, resumes_at=resumes_at)


def _is_fresh(asked_at: Moment, sharing: Sharing, *, now: Moment) -> bool:
    """Whether this was asked within the patience. What was asked in the future was asked before the clock was set."""
    return now - millis(sharing.patience) < asked_at <= now


def _pages(
    due: Sequence[Due], sharing: Sharing, listings: Mapping[str, Listing], *, now: Moment
) -> Mapping[tuple[str, int], list[int]]:
    """Where in the lists that are worth reading each task should be, newest first."""
    pages: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    if not sharing.has_list:
        return pages
    for each in due:
        if each.endpoint is None or each.rank is None or not each.fits_page:
            continue
        listing = listings.get(each.endpoint, Listing())
        page = int(each.rank * listing.stretch) // MOST_LISTED + 1
        if listing.resumes_at <= now and page <= MOST_PAGES and len(pages[each.endpoint, page]) < MOST_LISTED:
            pages[each.endpoint, page].append(each.key)
    return {place: keys for place, keys in pages.items() if keys}


def _batch(due: Sequence[Due], sharing: Sharing, waiting: set[int], batches: Listing, *, now: Moment) -> list[int]:
    if not sharing.has_batch or batches.resumes_at > now:
        return []
    free = [each.key for each in due if each.fits_batch and each.key not in waiting]
    return free[:MOST_IN_BATCH]
