"""The command line: `hookledger …`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from receiver.cli.output import out, run_safely

# Which module has a command: it is imported when the command is named, or to list them all. A receiver is started
# often where platforms scale to zero, and does not wait for the sandbox's code.
COMMANDS = {
    "demo": "playing",
    "serve": "serving",
    "tick": "serving",
    "submit": "submitting",
    "tasks": "tasks",
    "callbacks": "callbacks",
    "deliveries": "deliveries",
    "destinations": "deliveries",
    "events": "events",
    "keys": "keys",
    "listen": "listening",
    "doctor": "doctoring",
    "report": "reporting",
    "config": "configuring",
    "migrate": "configuring",
    "sandbox": "playing",
    "simulate": "simulating",
}
GROUPS = frozenset({"tasks", "callbacks", "deliveries", "events", "keys", "config"})


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """The commands that these arguments name, or all where they name none or ask for help."""
    app = typer.Typer(
        name="hookledger",
        help="Submit image tasks to Kling-compatible gateways, and never poll for them.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    named = [] if {"-h", "--help"} & set(arguments) else [name for name in COMMANDS if name in arguments]
    for name in named or COMMANDS:
        module = import_module(f"receiver.cli.{COMMANDS[name]}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's way
    if not is_asked:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - reads mail headers, and so loads much

    try:
        out.print(f"hookledger {version('hookledger')}")
    except PackageNotFoundError:  # run from a checkout, as platforms do
        out.print("hookledger, from a checkout")
    raise typer.Exit


def root(
    context: typer.Context,
    config: Annotated[str | None, typer.Option("--config", help="The configuration file.", metavar="FILE")] = None,
    is_version_asked: Annotated[  # noqa: ARG001 - answered by its callback
        bool, typer.Option("--version", help="Print the version, and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Submit image tasks to Kling-compatible gateways, and never poll for them."""
    context.obj = config


def main() -> None:
    """Run the command; every error becomes one message and an exit code: 1 failed, 2 misused or misconfigured."""
    app = command_line(sys.argv[1:])
    gc.freeze()  # what was imported stays: it need not be looked through again
    gc.enable()
    run_safely(app)
