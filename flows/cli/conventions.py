"""Conventions that several commands share: options and exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from feature_repo.names import RankerKey

AsOf = Annotated[
    str | None, typer.Option(help="An instant with its zone, such as 2017-12-01T00:00:00Z.")
]
Ranker = Annotated[
    RankerKey, typer.Option(help="The ranker: home answers home, member and campaign placements.")
]
Version = Annotated[int | None, typer.Option(help="The lake version; by default the current one.")]

EXIT_CODE = "exit_code"
"""The attribute of an error that replaces the usual exit code 1."""


@contextmanager
def errors_exit_with_2() -> Iterator[None]:
    """Makes an error in the block end the command with 2, because 1 means that results differ."""
    try:
        yield
    except Exception as error:
        setattr(error, EXIT_CODE, 2)
        raise
