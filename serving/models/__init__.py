"""The rankers in use, from the model registry to the score.

Loads and checks registered versions, replaces champions, and assigns users to a challenger. No
other room of the service imports MLflow or XGBoost.
"""
