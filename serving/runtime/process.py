"""Tunes the Python process that serves."""

import atexit
import gc
import sys

_SWITCH_SECONDS = 0.0005


def tune_interpreter() -> None:
    """Let nothing in this process hold up a request that need not.

    What is in memory by now stays there: looking through it for garbage would stop everything for
    a tenth of a second again and again. And a thread that writes a file hands over sooner.
    """
    gc.collect()
    gc.freeze()
    # At the end it is let go, or extensions that count what they made complain of it.
    atexit.register(gc.unfreeze)
    sys.setswitchinterval(_SWITCH_SECONDS)
