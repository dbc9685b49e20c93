"""Evaluation: metrics of rankings, and comparisons with intervals.

Works on frames and scores, so it knows no model. Offers tables to studies, gate and report.
"""
