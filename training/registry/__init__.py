"""Runs and versions in MLflow, and the promotion gate.

The only room of training that imports MLflow. `run_writer` and `run_reader` take an `MlflowStore`;
`promotion_gate` is a pure decision. Offers all of them to the flows.
"""
