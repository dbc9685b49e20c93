"""The record of runs and versions in MLflow, and the promotion gate.

The only room of training that imports MLflow. Offers `Tracking` and `decide` to the flows.
"""
