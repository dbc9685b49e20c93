"""Logs, metrics, traces, and the timers of a request's stages.

None of them contains data of a user. The room imports the values that it counts: `decisions`,
`models` and `schemas`.
"""
