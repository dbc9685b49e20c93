"""The exit of a process that served."""

import subprocess
import sys

SERVED = """
import duckdb
from serving.runtime.process import tune_interpreter
duckdb.sql("SELECT 1").fetchall()
tune_interpreter()
"""


def test_process_that_served_exits_without_output():
    ended = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "")
