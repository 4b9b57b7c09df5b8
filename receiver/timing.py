"""How long such a task takes, learned from those that finished, and when a silent one is worth a question. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from receiver.durations import NOTHING, bin_of, folded
from receiver.loss import believed_loss
from receiver.questions import Worth, plan_questions
from receiver.task import Decision, Source, Task
from submitter.moments import Moment, millis

LEARNED_FROM = 20  # tasks: until so many of a class have finished, a coarser class or the fixed plan is asked by
MEMORY = 400  # tasks: the weight of one falls to a third while so many more finish
LOSS_MEMORY = 1_500
MOST_FRESH = 64  # of the tasks between two foldings so many are looked at: in a flood a sample serves as well
FOLDED_EVERY = timedelta(seconds=5)  # at most: a new histogram is a new plan, of some milliseconds
_STAMPED_BY_ANSWER = 1.0  # seconds: a provider's time so near its answer may be the answer's own
_LONGEST_NAME = 64
_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingClass:
    """Tasks that should take alike. A part that nobody knows is the same for all who do not know it."""

    endpoint: str
    model: str
    resolution: str
    count: str

    @classmethod
    def of_request(cls, endpoint: str, fields: Mapping[str, Any], images_asked: int | None) -> TimingClass:
        """The class of a request in the wire's fields."""
        return cls(
            endpoint=_named(endpoint),
            model=_named(fields.get("model_name")),
            resolution=_named(fields.get("resolution")),
            count=_named(images_asked or "auto"),
        )

    @property
    def text(self) -> str:
        """As the ledger keeps it: `omni-image/kling-image-o1/1k/1`."""
        return _SEPARATOR.join((self.endpoint, self.model, self.resolution, self.count))


def path_of(timing_class: str | None) -> Sequence[str]:
    """The class and all coarser ones, down to '', which is every task of the account."""
    parts = timing_class.split(_SEPARATOR) if timing_class else []
    return [_SEPARATOR.join(parts[:length]) for length in range(len(parts), -1, -1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """A task's end: how many seconds it took at least and at most, and whether a callback told of it.

    In the dark nobody calls, and that says nothing of what is lost in the light: there `is_called` is None.
    """

    at_least: float
    at_most: float
    is_called: bool | None

    @property
    def bins(self) -> bytes:
        """The first and the last bin that it may lie in."""
        return bytes((bin_of(self.at_least), bin_of(self.at_most)))


def finish_of(before: Task, decision: Decision, source: Source, *, running_at: Moment | None) -> Finish | None:
    """What a decision tells of how long its task took; None where it brought no end, or the beginning is not known.

    A final that is held is an end too: what happens to it later tells nothing new. `running_at` is when an answer
    last said that the task runs.
    """
    after = decision.task
    is_end = (after.is_settled and not before.is_at_rest and before.held is None) or (
        after.held is not None and before.held is None
    )
    told_at = after.settled_at if after.is_settled else after.doubt_since
    if not is_end or told_at is None or after.sent_at is None or told_at <= after.sent_at or source is Source.ANSWER:
        return None
    took = (told_at - after.sent_at) / 1_000
    if source is Source.CALLBACK:
        return Finish(at_least=took, at_most=took, is_called=True)
    ran = 0.0 if running_at is None else (running_at - after.sent_at) / 1_000
    at_least = min(max(ran, 0.0), took)
    said = _said_to_take(after)
    if said is not None and at_least < said < took - _STAMPED_BY_ANSWER:
        return Finish(at_least=said, at_most=said, is_called=False)
    return Finish(at_least=at_least, at_most=took, is_called=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What is remembered of one class: a histogram, the ends not yet folded into it, and who told of them.

    `fresh` holds two bytes for each end: the first and the last bin that it may lie in.
    """

    histogram: bytes = NOTHING
    fresh: bytes = b""
    finished: int = 0
    called: float = 0.0
    found: float = 0.0
    folded_at: Moment = 0

    def with_finishes(self, finishes: Sequence[Finish], *, now: Moment) -> Timing:
        """So many more ends, in their order."""
        kept = 1 - 1 / LOSS_MEMORY
        called, found = self.called, self.found
        told = [finish.is_called for finish in finishes if finish.is_called is not None]
        for is_called in told:
            called = called * kept + is_called
            found = found * kept + (not is_called)
        room = max(0, MOST_FRESH - len(self.fresh) // 2)
        known = replace(
            self,
            fresh=self.fresh + b"".join([finish.bins for finish in finishes[:room]]),
            finished=self.finished + len(finishes),
            called=called,
            found=found,
        )
        return _folded(known, now) if _is_worth_folding(known, now) else known

    @property
    def is_learned(self) -> bool:
        """Whether enough tasks have finished to ask by it."""
        return self.finished >= LEARNED_FROM and self.histogram != NOTHING

    @property
    def lost(self) -> float:
        """The share of callbacks lost, as far as questions have shown it."""
        return believed_loss(found=self.found, called=self.called)

    def next_question(self, *, running: float, now: float, lost: float, worth: Worth) -> float | None:
        """The best age in seconds, from `now` on, to ask a silent task that was known to run at the age `running`.

        With `lost` = 1 the path is dark, and silence says nothing. None beyond what can be planned for.
        """
        return plan_questions(self.histogram, lost, worth).after(running, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a silent task's timing: its class, or the first coarser one learned, and the account's loss."""

    timing: Timing
    lost: float

    def question_at(self, sent_at: Moment, *, running_at: Moment | None, now: Moment, worth: Worth) -> Moment | None:
        """The moment for the next question, from `now` on; None beyond what can be planned for."""
        running = 0.0 if running_at is None else max(0.0, (running_at - sent_at) / 1_000)
        age = self.timing.next_question(running=running, now=(now - sent_at) / 1_000, lost=self.lost, worth=worth)
        return None if age is None else max(now, sent_at + round(age * 1_000))


def known_of(timings: Mapping[str, Timing], timing_class: str | None) -> Known | None:
    """The finest learned class on the path of this one; None until there is any."""
    account = timings.get("", Timing())
    learned = (timings[each] for each in path_of(timing_class) if each in timings and timings[each].is_learned)
    timing = next(learned, None)
    return None if timing is None else Known(timing=timing, lost=account.lost)


def _is_worth_folding(timing: Timing, now: Moment) -> bool:
    enough = min(MOST_FRESH, max(LEARNED_FROM, timing.finished // 4))
    is_due = timing.histogram == NOTHING or abs(now - timing.folded_at) >= millis(FOLDED_EVERY)
    return len(timing.fresh) >= 2 * enough and is_due


def _folded(timing: Timing, now: Moment) -> Timing:
    seen = zip(timing.fresh[::2], timing.fresh[1::2], strict=True)
    return replace(timing, histogram=folded(timing.histogram, seen, memory=MEMORY), fresh=b"", folded_at=now)


def _said_to_take(task: Task) -> float | None:
    """By the provider's own clock: from the creation to the last change, in seconds."""
    if task.provider_created_at is None or task.provider_updated_at is None:
        return None
    return (task.provider_updated_at - task.provider_created_at) / 1_000


def _named(part: object) -> str:
    text = "" if part is None else str(part)
    return text.replace(_SEPARATOR, "_")[:_LONGEST_NAME]
