"""The service: recommendations over HTTP, and the events that come back.

`main` starts it, `wiring` builds its parts, and a room does each step of a request. Imports
`feature_repo` alone.
"""
