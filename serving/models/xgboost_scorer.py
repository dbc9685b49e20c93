"""What a booster says of rows, by XGBoost's C interface, from a buffer that is used again.

``Booster.inplace_predict`` calls the same function. Around it, it describes the rows in JSON, makes
a matrix to hold the description and an array of the answer anew each time, which takes as long as
a hundred rows do.
"""

import ctypes
import json
import threading
import weakref
from typing import Any

import numpy as np

_SETTINGS = {
    "type": 0,
    "training": False,
    "iteration_begin": 0,
    "iteration_end": 0,
    "missing": float("nan"),
    "strict_shape": False,
    "cache_id": 0,
}
_FLOAT_BYTES = 4


class Trees:
    """The trees of an ``xgboost.Booster`` that reads ``width`` inputs; any thread may ask."""

    def __init__(self, booster: Any, width: int) -> None:
        from xgboost.libpath import find_lib_path

        # It is loaded already: this only finds it again.
        self._library = ctypes.CDLL(find_lib_path()[0])
        self._library.XGBGetLastError.restype = ctypes.c_char_p
        self._booster = booster
        self._width = width
        self._settings = json.dumps(_SETTINGS).encode()
        self._held = threading.local()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Float32, one value a row of float32 inputs. Raises RuntimeError if XGBoost fails."""
        count = len(inputs)
        rows = self._rows(count)
        rows.buffer[:count] = inputs
        shape, dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        found = ctypes.POINTER(ctypes.c_float)()
        failed = self._library.XGBoosterPredictFromDense(
            self._booster.handle,
            rows.described(count),
            self._settings,
            rows.proxy,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(found),
        )
        if failed:
            raise RuntimeError(self._library.XGBGetLastError().decode(errors="replace"))
        return np.frombuffer(ctypes.string_at(found, count * _FLOAT_BYTES), dtype=np.float32)

    def _rows(self, count: int) -> "_Rows":
        """This thread's buffer, with room for so many rows."""
        held = getattr(self._held, "rows", None)
        if held is None or len(held.buffer) < count:
            held = self._held.rows = _Rows(self._library, count, self._width)
        return held


class _Rows:
    """A buffer of rows, and how XGBoost is told where its first ones lie.

    ``proxy`` is the matrix that XGBoost holds for it, and would otherwise make for every question.
    """

    def __init__(self, library: ctypes.CDLL, count: int, width: int) -> None:
        self.buffer = np.empty((count, width), dtype=np.float32)
        self.proxy = ctypes.c_void_p()
        self._described: dict[int, bytes] = {}
        if library.XGProxyDMatrixCreate(ctypes.byref(self.proxy)):
            raise RuntimeError(library.XGBGetLastError().decode(errors="replace"))
        weakref.finalize(self, library.XGDMatrixFree, self.proxy)

    def described(self, count: int) -> bytes:
        """The first rows in NumPy's array interface, as JSON."""
        if count not in self._described:
            interface = {
                "data": [self.buffer.ctypes.data, True],
                "shape": [count, self.buffer.shape[1]],
                "typestr": "<f4",
                "version": 3,
            }
            self._described[count] = json.dumps(interface).encode()
        return self._described[count]
