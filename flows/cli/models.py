"""The commands for registered models: gate, reproduce, promote, rollback and audit."""

from typing import Annotated

import typer

from feature_repo.names import RANKERS
from flows.cli.conventions import Ranker, errors_exit_with_2

ModelVersion = Annotated[str, typer.Option("--version", help="The version of the ranker.")]
Reason = Annotated[str, typer.Option(help="The reason; kept with the version and in the log.")]


def gate(ranker: Ranker, version: ModelVersion) -> None:
    """Run the gate again for a version, on its own data.

    The decision is stored with the version and replaces the earlier one."""
    from flows.cli.output import models, terminal
    from flows.gate import repeat_gate
    from flows.runtime import run_flow

    with terminal.progress("Gate"):
        result = run_flow(repeat_gate, ranker=ranker, version=version)
    models.decision(result.decision)
    terminal.console.print(f"Report: {result.report}", soft_wrap=True)


def reproduce(ranker: Ranker, version: ModelVersion) -> None:
    """Train a version again and compare the model bytes.

    The exit code is 0 if they are the same, 1 if they differ, and 2 on an
    error.
    """
    with errors_exit_with_2():
        from flows.cli.output import models, terminal
        from flows.reproduce import reproduce
        from flows.runtime import run_flow

        with terminal.progress("Reproduce"):
            result = run_flow(reproduce, ranker=ranker, version=version)
        models.reproduced(result)
    raise typer.Exit(0 if result.is_same else 1)


def promote(
    ranker: Ranker,
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

    names, home = RANKERS[ranker], prepare_environment()
    overruled = champion.promote(home, names, version, reason, login_name(), force)
    if overruled:
        terminal.console.print(f"[yellow]Forced:[/] {overruled}", soft_wrap=True)
    terminal.console.print(f"{names.model} version {version} is champion: {reason}")


def rollback(ranker: Ranker, reason: Reason) -> None:
    """Make a ranker's previous champion, from the audit log, the champion again."""
    from flows import champion
    from flows.cli.output import terminal
    from flows.runtime import login_name, prepare_environment

    names = RANKERS[ranker]
    version = champion.rollback(prepare_environment(), names, reason, login_name())
    terminal.console.print(f"{names.model} version {version} is champion again: {reason}")


def audit() -> None:
    """List the champion changes: when, model, from, to, how, who and why."""
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
