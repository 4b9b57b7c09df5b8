"""Deliveries written with their events, and whose turn it is: of a task and destination one at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from receiver.breaker import FINAL_WAITS_FOR
from receiver.eventtype import FINAL
from submitter.moments import Moment

SUPERSEDED = "superseded by a later event of its task"

ToClient: TypeAlias = tuple[int, str]  # the event's position, and what the client's destination is called

_OF_SUBSCRIPTIONS = """
    select position, events.external_task_id, time, events.type, destination
      from events cross join subscriptions using (type)
     where position > :after
       and (provider = '' or provider = coalesce(json_extract(events.task, '$.provider'),
                                                 json_extract(events.about, '$.path.provider')))
"""
_OF_CLIENTS = """
    select position, events.external_task_id, time, events.type, json_extract(told.value, '$[1]') as destination
      from json_each(:clients) as told cross join events on position = json_extract(told.value, '$[0]')
"""


def write_deliveries(raw: sqlite3.Connection, *, after: int, clients: Sequence[ToClient] = ()) -> None:
    """A delivery of each event behind this position to each destination that wants it, and to these clients.

    Of a task's events the first takes its turn, unless one before it is still open.
    """
    has_subscriptions = raw.execute("select 1 from subscriptions limit 1").fetchone() is not None
    wanted = [*([_OF_SUBSCRIPTIONS] if has_subscriptions else []), *([_OF_CLIENTS] if clients else [])]
    if not wanted:
        return
    raw.execute(
        f"""
        insert into deliveries (position, destination, external_task_id, is_final, next_at)
        select position, destination, external_task_id, is_final,
               case when external_task_id is null or (place = 1 and not exists (
                        select 1 from deliveries as earlier
                         where earlier.destination = new.destination
                           and earlier.external_task_id = new.external_task_id and earlier.state = 'open'))
                    then time end
          from (select position, destination, external_task_id, time,
                       type in (select value from json_each(:final)) as is_final,
                       row_number() over (partition by destination, external_task_id order by position) as place
                  from ({" union all ".join(wanted)})) as new
         order by position, destination
        """,  # noqa: S608 - the texts from above
        {"after": after, "final": json.dumps(sorted(FINAL)), "clients": json.dumps(clients)},
    )
    held_up = raw.execute(
        """
        select distinct earlier.destination, earlier.external_task_id, new.time
          from (select destination, deliveries.external_task_id, time from deliveries join events using (position)
                 where position > :after and is_final) as new
          join deliveries as earlier using (destination, external_task_id)
         where earlier.state = 'open' and earlier.position <= :after
           and earlier.attempts >= :patience and not earlier.is_leased
        """,
        {"after": after, "patience": FINAL_WAITS_FOR},
    )
    for destination, external_task_id, now in held_up.fetchall():
        supersede(raw, destination, external_task_id, now=now)
        give_turn(raw, destination, external_task_id, now=now)


def supersede(raw: sqlite3.Connection, destination: str, external_task_id: str | None, *, now: Moment) -> None:
    """What stands before the latest final event of the task is old news, if there is one."""
    raw.execute(
        """
        update deliveries set state = 'superseded', settled_at = :now, next_at = null, reason = :reason
         where destination = :destination and external_task_id = :task and state = 'open' and not is_leased
           and position < (select max(position) from deliveries as final
                            where destination = :destination and external_task_id = :task
                              and state = 'open' and is_final)
        """,
        {"destination": destination, "task": external_task_id, "now": now, "reason": SUPERSEDED},
    )


def give_turn(raw: sqlite3.Connection, destination: str, external_task_id: str | None, *, now: Moment) -> None:
    """The first open one of the task is due, unless another has its turn."""
    raw.execute(
        """
        update deliveries set next_at = :now
         where key = (select key from deliveries
                       where destination = :destination and external_task_id = :task and state = 'open'
                       order by position limit 1)
           and not exists (select 1 from deliveries
                            where destination = :destination and external_task_id = :task and next_at is not null)
        """,
        {"destination": destination, "task": external_task_id, "now": now},
    )


def give_turns(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    """As give_turn, for all tasks that wait at the destination."""
    raw.execute(
        """
        update deliveries set next_at = :now
         where destination = :destination and state = 'open'
           and position in (select min(position) from deliveries
                             where destination = :destination and state = 'open' and external_task_id is not null
                             group by external_task_id having count(next_at) = 0)
        """,
        {"destination": destination, "now": now},
    )


def take_turn(raw: sqlite3.Connection, destination: str, external_task_id: str | None) -> None:
    """Nothing of the task is due any more, but for what is under way."""
    raw.execute(
        """
        update deliveries set next_at = null
         where destination = ? and external_task_id = ? and next_at is not null and not is_leased
        """,
        (destination, external_task_id),
    )
