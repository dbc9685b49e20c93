"""Training data: point-in-time frames of requests, their labels, samples and splits by time.

Reads the lake, its published features and Feast. Offers `RankingFrame` to every other room of
training.
"""
