"""Scores rows with an XGBoost booster through XGBoost's C interface, in a reused buffer.

``Booster.inplace_predict`` calls the same C function, ``XGBoosterPredictFromDense``. For each call
it also describes the rows in JSON, creates a proxy matrix and allocates the result. This module
creates them once for each thread and number of rows.

Saved: with 100 rows of 79 inputs and 200 trees of depth 3, a call takes 0.11 ms instead of 0.18 ms.
Measured with XGBoost 3.2.0 on one core of an AMD EPYC, p50; see
``infra/decisions/ctypes-scorer.md``.

Check these when XGBoost is upgraded, in its C interface and in ``Booster.inplace_predict``:

- the arguments of ``XGBoosterPredictFromDense``, ``XGProxyDMatrixCreate`` and ``XGDMatrixFree``;
- the JSON keys in ``_PREDICTION``, and the array interface in ``_Buffer.description``;
- the private ``Booster.handle``, and ``xgboost.libpath.find_lib_path``;
- the result: float32 in XGBoost's memory, overwritten by this thread's next prediction.

``tests/integration/serving/test_champion.py`` compares the bits with ``inplace_predict``.
"""

import ctypes
import json
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from xgboost import Booster

_PREDICTION = {
    "type": 0,
    "training": False,
    "iteration_begin": 0,
    "iteration_end": 0,
    "missing": float("nan"),
    "strict_shape": False,
    "cache_id": 0,
}
_FLOAT_BYTES = 4


class XGBoostScorer:
    """Predictions of a booster with ``width`` inputs, without a base margin. Thread-safe."""

    def __init__(self, booster: "Booster", width: int) -> None:
        from xgboost.libpath import find_lib_path

        # XGBoost has loaded the library already; this returns another handle to it.
        self._library = ctypes.CDLL(find_lib_path()[0])
        self._library.XGBGetLastError.restype = ctypes.c_char_p
        self._booster = booster
        self._width = width
        self._prediction = json.dumps(_PREDICTION).encode()
        self._local = threading.local()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Returns float32 of shape ``(n,)`` for float32 inputs of shape ``(n, width)``.

        Raises RuntimeError with XGBoost's message if XGBoost fails.
        """
        count = len(inputs)
        buffer = self._buffer(count)
        buffer.rows[:count] = inputs
        shape, dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        predictions = ctypes.POINTER(ctypes.c_float)()
        failed = self._library.XGBoosterPredictFromDense(
            self._booster.handle,
            buffer.description(count),
            self._prediction,
            buffer.proxy,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(predictions),
        )
        if failed:
            raise RuntimeError(self._library.XGBGetLastError().decode(errors="replace"))
        return np.frombuffer(ctypes.string_at(predictions, count * _FLOAT_BYTES), dtype=np.float32)

    def _buffer(self, count: int) -> "_Buffer":
        """Returns this thread's buffer, replaced if it has fewer than ``count`` rows."""
        buffer: _Buffer | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer.rows) < count:
            buffer = self._local.buffer = _Buffer(self._library, count, self._width)
        return buffer


class _Buffer:
    """A float32 matrix that XGBoost reads in place.

    ``proxy`` is the handle of XGBoost's proxy matrix, freed together with the buffer.
    """

    def __init__(self, library: ctypes.CDLL, count: int, width: int) -> None:
        self.rows = np.empty((count, width), dtype=np.float32)
        self.proxy = ctypes.c_void_p()
        self._descriptions: dict[int, bytes] = {}
        if library.XGProxyDMatrixCreate(ctypes.byref(self.proxy)):
            raise RuntimeError(library.XGBGetLastError().decode(errors="replace"))
        weakref.finalize(self, library.XGDMatrixFree, self.proxy)

    def description(self, count: int) -> bytes:
        """Returns the first ``count`` rows in NumPy's array interface, as JSON; cached."""
        if count not in self._descriptions:
            interface = {
                "data": [self.rows.ctypes.data, True],
                "shape": [count, self.rows.shape[1]],
                "typestr": "<f4",
                "version": 3,
            }
            self._descriptions[count] = json.dumps(interface).encode()
        return self._descriptions[count]
