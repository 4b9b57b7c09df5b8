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
    `alive_after` is counted from `ends`, and None where the path stayed dark, or was called alive in the spell: under a
    leaked URL callbacks come all the same.
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
    noticed = _first(turns, EventType.PATH_DARK, clock, after=began)
    alive = None if noticed is None else _revived(turns, clock, after=max(noticed, ended))
    return DarkSpell(
        begins=spell.begins / 1000,
        ends=spell.ends / 1000,
        noticed_after=None if noticed is None else (noticed - began) / 1000,
        finished_by_then=None if noticed is None else sum(began <= (life.final_at or 0) <= noticed for life in lives),
        alive_after=None if alive is None else (alive - ended) / 1000,
    )


def _revived(turns: Sequence[StoredEvent], clock: VirtualClock, *, after: Moment) -> Moment | None:
    """When a path that was dark at this moment came alive; None where it was not dark, or never came."""
    alive, dark = (_first(turns, kind, clock, after=after) for kind in (EventType.PATH_ALIVE, EventType.PATH_DARK))
    return None if alive is None or (dark is not None and dark < alive) else alive


def _first(turns: Sequence[StoredEvent], kind: EventType, clock: VirtualClock, *, after: Moment) -> Moment | None:
    for turn in turns:
        if turn.type == kind:
            moment = clock.true_moment_of(turn.time, not_before=after)
            if moment > after:  # else it was before: the search for the moment stops there
                return moment
    return None
