"""How commands speak: tables or JSON on standard output, one message on standard error, three exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import httpx
from rich.console import Console

from receiver.configerrors import ConfigError
from receiver.ledger.errors import LedgerError, LedgerUnusable
from submitter.errors import InvalidRequest, SubmitterError

FAILED = 1
MISUSED = 2
WIDTH_WHERE_NOBODY_LOOKS = 160  # a pipe has no width: tables are not to be cut there
TRACEBACK_VARIABLE = "HOOKLEDGER_TRACEBACK"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """A pager was closed, or `head` has seen enough: that is no error, and run_safely ends it."""
        raise BrokenPipeError


# rich honours NO_COLOR and leaves colours out where nobody looks.
out = _Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDTH_WHERE_NOBODY_LOOKS)
err = _Console(stderr=True, soft_wrap=True, highlight=False)


class CommandError(Exception):
    """The command cannot go on; the message says why and what to do."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def print_json(value: Any) -> None:
    """One JSON document, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: Any) -> None:
    """One JSON document on one line, at once: somebody follows."""
    try:
        sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise BrokenPipeError from None  # one without a number, as rich's above: typer would end on EPIPE with 1


def note(message: str) -> None:
    """A word to the person, out of the way of the output."""
    err.print(message, style="dim", markup=False)


def run_safely(command: Callable[[], Any]) -> NoReturn:
    """Run, and turn what is raised into a message and an exit code. Nobody is shown a traceback unasked."""
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        _fail("the configuration cannot be used:\n  " + str(error).replace("\n", "\n  "), MISUSED)
    except (LedgerUnusable, InvalidRequest) as error:
        _fail(str(error), MISUSED)
    except CommandError as error:
        _fail(str(error), error.code)
    except (LedgerError, SubmitterError) as error:
        _fail(str(error), FAILED)
    except httpx.HTTPError as error:
        _fail(f"{type(error).__name__}: {error}", FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _fail(
            f"a fault of hookledger's own: {type(error).__name__}: {error} ({TRACEBACK_VARIABLE}=1 shows where)", FAILED
        )
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    err.print("error:", style="bold red", end=" ")
    err.print(message, markup=False)
    sys.exit(code)
