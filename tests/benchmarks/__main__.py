"""Runs one benchmark, or all: ``python -m tests.benchmarks point_in_time --rows 10000``."""

import sys

from tests.benchmarks import backbone, point_in_time, serving

BENCHMARKS = {
    "backbone": lambda _: backbone.main(),
    "point_in_time": point_in_time.main,
    "serving": serving.main,
}


def main(name: str | None = None, *options: str) -> None:
    """Runs the benchmark ``name`` with its options, or every benchmark without options."""
    if name is not None and name not in BENCHMARKS:
        sys.exit(f"Expected one of the benchmarks {', '.join(BENCHMARKS)}, got {name}.")
    for one in [name] if name else BENCHMARKS:
        BENCHMARKS[one](options)


main(*sys.argv[1:])
