"""How the path was judged: when it was called dark, after how many finished tasks, and when alive again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from receiver.eventtype import EventType
from receiver.ledger.reading import StoredEvent
from receiver.pathhealth import PathHealth
from receiver.simulation.clock import VirtualClock
from receiver.simulation.faults import Spell
from receiver.simulation.world import BEGINNING, Life
from submitter.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkSpell:
    """The dark spell that was simulated, and what the receiver made of it. In seconds.

    `begins` and `ends` are counted from the world's beginning. `noticed_after` is counted from `begins`, and None where
    the path was called dark before it, or not since then; `finished_by_then` are the tasks that had ended in it.
    `alive_after` is counted from `ends`.
    """

    begins: float
    ends: float
    noticed_after: float | None
    finished_by_then: int | None
    alive_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStory:
    """How often the path was called dark in all; what it is at the end, and which share it is taken to lose."""

    state: str
    loss: float
    times_dark: int
    spell: DarkSpell | None


def story_of(
    turns: Sequence[StoredEvent], path: PathHealth, spell: Spell, lives: Iterable[Life], clock: VirtualClock
) -> PathStory:
    """Told by the events `path.dark` and `path.alive`, in their order."""
    return PathStory(
        state=path.state,
        loss=round(path.loss, 4),
        times_dark=sum(each.type == EventType.PATH_DARK for each in turns),
        spell=_of_spell(turns, spell, lives, clock) if spell.ends > spell.begins else None,
    )


def _of_spell(turns: Sequence[StoredEvent], spell: Spell, lives: Iterable[Life], clock: VirtualClock) -> DarkSpell:
    began, ended = BEGINNING + spell.begins, BEGINNING + spell.ends
    noticed = _first(turns, EventType.PATH_DARK, clock, not_before=began)
    alive = None if noticed is None else _first(turns, EventType.PATH_ALIVE, clock, not_before=noticed)
    return DarkSpell(
        begins=spell.begins / 1000,
        ends=spell.ends / 1000,
        noticed_after=None if noticed is None else (noticed - began) / 1000,
        finished_by_then=None if noticed is None else sum(began <= (life.final_at or 0) <= noticed for life in lives),
        alive_after=None if alive is None else (alive - ended) / 1000,
    )


def _first(turns: Sequence[StoredEvent], kind: EventType, clock: VirtualClock, *, not_before: Moment) -> Moment | None:
    for turn in turns:
        if turn.type == kind:
            moment = clock.true_moment_of(turn.time, not_before=not_before)
            if moment > not_before:  # else it was before: the search for the moment stops there
                return moment
    return None
