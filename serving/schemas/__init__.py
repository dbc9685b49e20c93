"""Schemas of requests, answers and events.

They are the pydantic models of the HTTP contract, shared by the API and the client. The room
imports names and value types of `feature_repo` and `candidates`, and no store. A shop imports
`CartItem` from here, for the carts that it sends by the client.
"""

from serving.schemas.recommendation import CartItem as CartItem
