"""Events of the shop: a durable inbox, and the feed of redemptions into the ledger.

Imports the event schemas, candidates, rules and the ledger. Offers `Inbox` to the API.
"""
