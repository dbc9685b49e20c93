"""How a process that served ends."""

import subprocess
import sys

SERVED = """
import duckdb
from serving.runtime.process import tune_interpreter
duckdb.sql("SELECT 1").fetchall()
tune_interpreter()
"""


def test_process_that_served_ends_without_a_word():
    ended = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "")
