"""Import time of the ingest code: heavy libraries are imported when it runs."""

import subprocess
import sys

HEAVY = ("pyarrow", "duckdb", "deltalake", "pandas", "numpy", "feast", "ibis")


def test_import_of_lake_and_sources_imports_no_heavy_library():
    script = (
        "import sys; from feature_repo import contract; "
        "from feature_repo.lake import landing, reader; "
        "from feature_repo.sources import complete_journey; "
        "from feature_repo.sources.files import source; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
