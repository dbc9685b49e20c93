"""The commands for registered models: gate, reproduce, promote, rollback and audit."""

from typing import Annotated

import typer

from flows.cli.conventions import errors_exit_with_2

ModelVersion = Annotated[str, typer.Option("--version", help="The version of coupon_ranker.")]
Reason = Annotated[str, typer.Option(help="The reason; kept with the version and in the log.")]


def gate(version: ModelVersion) -> None:
    """Run the gate again for a version, on its own data.

    The decision is stored with the version and replaces the earlier one."""
    from flows.cli.output import models, terminal
    from flows.gate import repeat_gate
    from flows.runtime import run_flow

    with terminal.progress("Gate"):
        result = run_flow(repeat_gate, version=version)
    models.decision(result.decision)
    terminal.console.print(f"Report: {result.report}", soft_wrap=True)


def reproduce(version: ModelVersion) -> None:
    """Train a version again and compare the model bytes.

    The exit code is 0 if they are the same, 1 if they differ, and 2 on an
    error.
    """
    with errors_exit_with_2():
        from flows.cli.output import models, terminal
        from flows.reproduce import reproduce
        from flows.runtime import run_flow

        with terminal.progress("Reproduce"):
            result = run_flow(reproduce, version=version)
        models.reproduced(result)
    raise typer.Exit(0 if result.is_same else 1)


def promote(
    version: ModelVersion,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Overrule a failed or missing gate, on the record.")
    ] = False,
) -> None:
    """Make a version that passed the gate the champion.

    A running service then loads it."""
    from flows import champion
    from flows.cli.output import terminal
    from flows.runtime import login_name, prepare_environment

    overruled = champion.promote(prepare_environment(), version, reason, login_name(), force)
    if overruled:
        terminal.console.print(f"[yellow]Forced:[/] {overruled}", soft_wrap=True)
    terminal.console.print(f"coupon_ranker version {version} is champion: {reason}")


def rollback(reason: Reason) -> None:
    """Make the previous champion of the audit log the champion again."""
    from flows import champion
    from flows.cli.output import terminal
    from flows.runtime import login_name, prepare_environment

    version = champion.rollback(prepare_environment(), reason, login_name())
    terminal.console.print(f"coupon_ranker version {version} is champion again: {reason}")


def audit() -> None:
    """List the champion changes: when, from, to, how, who and why."""
    from flows.champion import audit_log
    from flows.cli.output import models, terminal
    from flows.runtime import prepare_environment
    from serving.errors import ModelError

    log = audit_log(prepare_environment())
    try:
        log.check()
    except ModelError as error:
        terminal.error(f"{error} Changes since the last entry are not shown.")
    models.audited(log.changes())
