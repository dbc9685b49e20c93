"""Evaluation: metrics of rankings, and comparisons with intervals.

Works on frames and scores, so it is independent of models. Offers metrics and comparisons to the
studies, the gate and the report.
"""
