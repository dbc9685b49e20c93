"""Ingest code costs a command nothing until it is used."""

import subprocess
import sys

HEAVY = ("pyarrow", "duckdb", "deltalake", "pandas", "numpy", "feast", "ibis")


def test_importing_the_lake_and_the_sources_imports_nothing_heavy():
    script = (
        "import sys; from feature_repo import contract, lake, landing; "
        "from feature_repo.sources import complete_journey, files; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
