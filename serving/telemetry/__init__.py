"""Logs, metrics, traces, and the timers of a request's stages.

None of them holds data of a user. Imports the values that it counts.
"""
