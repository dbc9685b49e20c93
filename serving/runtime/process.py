"""Settings of the Python interpreter for a process that serves."""

import atexit
import gc
import sys

_SWITCH_SECONDS = 0.0005


def tune_interpreter() -> None:
    """Freezes startup objects out of the garbage collector and shortens the GIL switch interval.

    Scanning the objects in memory would pause every request for 0.1 seconds, again and again. The
    shorter interval makes a thread that writes a file release the GIL sooner.
    """
    gc.collect()
    gc.freeze()
    # Unfreeze at exit: extensions that count their objects warn of those left.
    atexit.register(gc.unfreeze)
    sys.setswitchinterval(_SWITCH_SECONDS)
