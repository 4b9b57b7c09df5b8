"""The command line: `hookledger …`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from receiver.cli import callbacks, configuring, playing, serving, submitting, tasks
from receiver.cli.output import out, run_safely

app = typer.Typer(
    name="hookledger",
    help="Submit image tasks to Kling-compatible gateways, and never poll for them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(playing.demo)
app.command("serve")(serving.serve)
app.command("tick")(serving.tick)
app.command("submit")(submitting.submit)
app.add_typer(tasks.app, name="tasks")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(configuring.app, name="config")
app.command("migrate")(configuring.migrate)
app.command("sandbox")(playing.sandbox)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's way
    if not is_asked:
        return
    try:
        out.print(f"hookledger {version('hookledger')}")
    except PackageNotFoundError:  # run from a checkout, as platforms do
        out.print("hookledger, from a checkout")
    raise typer.Exit


@app.callback()
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
    run_safely(app)
