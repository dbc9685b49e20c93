"""Integers that stand for a value that no source states.

NumPy has no integer for a missing value, and a mask beside each array would cost every rule a
second read. So each array of terms holds one of these two.
"""

NO_LIMIT = 2**62
"""No limit is stated. It is above every amount and count, so comparisons need no special case."""

UNSTATED = -1
"""No kind of discount, exclusivity group, department or minimum margin is stated.

All stated ones are 0 or more: positions and numbers start at 0, and percentages are not negative.
"""
