"""Turns and gathered lines: nothing is left behind by who goes away."""

import asyncio
import io

import pytest

from receiver.ledger.errors import Overloaded
from receiver.logs import Gathered
from receiver.turns import AT_ONCE, MOST_WAITING, Turns
from tests.patience import PATIENCE


async def test_who_went_away_waits_no_more() -> None:
    turns = Turns()
    for _ in range(AT_ONCE):
        await turns.take("t_ours")
    waiters = [asyncio.create_task(turns.take("t_ours")) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await turns.take("t_ours")

    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    latest = asyncio.create_task(turns.take("t_ours"))
    await asyncio.sleep(0)
    turns.give_back("t_ours")

    await asyncio.wait_for(latest, PATIENCE)


def test_lines_are_written_in_every_loop_and_outside_of_one() -> None:
    stream = io.StringIO()
    gathered = Gathered(stream)

    async def say(word: str, *, seconds: float) -> None:
        gathered.write(word)
        gathered.flush()
        await asyncio.sleep(seconds)

    asyncio.run(say("one ", seconds=0))
    asyncio.run(say("two ", seconds=0.2))
    assert "one two " == stream.getvalue()
    gathered.write("three")
    gathered.flush()

    assert "one two three" == stream.getvalue()
