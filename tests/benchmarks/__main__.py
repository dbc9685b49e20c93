"""Runs the named benchmarks, or all: ``python -m tests.benchmarks backbone``."""

import sys

from tests.benchmarks import backbone

BENCHMARKS = {"backbone": backbone.main}


def main(names: list[str]) -> None:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"Expected benchmarks of {', '.join(BENCHMARKS)}, got {', '.join(unknown)}.")
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()


main(sys.argv[1:])
