"""One target under atheris, in a process of its own: `python -m tests.fuzz.target bodies CORPUS -options…`."""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import atheris

INSTRUMENTED = ["submitter", "receiver", "uvicorn.protocols.http", "starlette"]
WRITE_EVERY = 20  # a commit takes as long as many readings

with atheris.instrument_imports(include=INSTRUMENTED):
    from receiver.logs import configure_logs
    from tests.fuzz.bodies import bodies
    from tests.fuzz.mutations import mutated
    from tests.fuzz.wire import Wire, wire


def main() -> None:
    """Fuzz until the time is up: atheris ends the process itself."""
    target = sys.argv.pop(1)
    configure_logs(format="json", level="error", stream=io.StringIO())
    with ExitStack() as stack:  # left as atheris exits: the ledger's threads would hold the process up
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookledger-fuzz-")))
        if target == "bodies":
            hearer = stack.enter_context(bodies(directory))
            atheris.Setup(sys.argv, partial(hearer.hear, write_every=WRITE_EVERY), custom_mutator=_mutated)
        else:
            atheris.Setup(sys.argv, partial(_send, stack.enter_context(wire(directory))))
        atheris.Fuzz()


def _send(line: Wire, data: bytes) -> None:
    """The first byte says how large the pieces are that the rest comes in."""
    line.send(data[1:], piece=max(1, 16 * data[0] if data else 1))


def _mutated(data: bytes, longest: int, seed: int) -> bytes:
    """Three times in four JSON from JSON, else what libFuzzer makes of the bytes."""
    changed = mutated(data, seed=seed, longest=longest) if seed % 4 else None
    made: bytes = atheris.Mutate(data, longest) if changed is None else changed
    return made


if __name__ == "__main__":
    main()
