"""Events of the shop: a durable inbox, and redemptions for the ledger.

Imports the event schemas and the ledger. Offers `Inbox` to the API.
"""
