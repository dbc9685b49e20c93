"""The rankers that serve, from the registry to the score.

Loads and checks registered versions, swaps champions, assigns users to a challenger. The only room
of the service that imports MLflow or XGBoost.
"""
