"""The commands of who decides on a model: the gate again, promotion, the way back, the record."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

ModelVersion = Annotated[str, typer.Option("--version", help="The version of coupon_ranker.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the version and in the audit log.")]


TROUBLE = 2
"""How a command ends on an error where 1 is an answer."""


@contextmanager
def answering() -> Iterator[None]:
    """Let a command whose exit code 1 is an answer end on an error with ``TROUBLE``."""
    try:
        yield
    except Exception as error:
        error.exit_code = TROUBLE
        raise


def gate(version: ModelVersion) -> None:
    """Repeat the gate for a version, on the data it was made with, and keep the answer with it."""
    from flows.cli import terminal
    from flows.gate import repeat_gate
    from flows.runtime import run

    with terminal.progress("Gate"):
        result = run(repeat_gate, version=version)
    terminal.decision(result.decision)
    terminal.console.print(f"Report: {result.report}", soft_wrap=True)


def reproduce(version: ModelVersion) -> None:
    """Train a version again from what it was made of, and compare the model files byte for byte.

    Ends with 0 if they are the same, 1 if they differ, 2 if that cannot be said.
    """
    with answering():
        from flows.cli import terminal
        from flows.reproduce import reproduce as again
        from flows.runtime import run

        with terminal.progress("Reproduce"):
            result = run(again, version=version)
        terminal.reproduced(result)
    raise typer.Exit(0 if result.alike else 1)


def promote(
    version: ModelVersion,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Overrule a failed or missing gate, on the record.")
    ] = False,
) -> None:
    """Make a version that passed the gate the champion, which the service then loads."""
    from flows import champion
    from flows.cli import terminal
    from flows.runtime import actor, prepare_environment

    overruled = champion.promote(prepare_environment(), version, reason, actor(), force)
    if overruled:
        terminal.console.print(f"[yellow]Forced:[/] {overruled}", soft_wrap=True)
    terminal.console.print(f"coupon_ranker version {version} is champion: {reason}")


def rollback(reason: Reason) -> None:
    """Make the previous champion, as the audit log knows it, the champion again."""
    from flows import champion
    from flows.cli import terminal
    from flows.runtime import actor, prepare_environment

    version = champion.rollback(prepare_environment(), reason, actor())
    terminal.console.print(f"coupon_ranker version {version} is champion again: {reason}")


def audit() -> None:
    """Show every change of champion: when, from, to, how, who and why."""
    from flows.champion import audit_log
    from flows.cli import terminal
    from flows.runtime import prepare_environment
    from serving.errors import ModelError

    log = audit_log(prepare_environment())
    try:
        log.check()
    except ModelError as error:
        terminal.error(f"{error} What changed since the last entry is not shown.")
    terminal.audited(log.changes())
