"""Schemas of requests, answers and events.

Pydantic models of the HTTP contract, shared by the API and the client. Imports no store.
"""
