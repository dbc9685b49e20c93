"""Training data: point-in-time frames, labels and splits by time.

Reads the lake and Feast. Offers `RankingFrame` to every other room of training.
"""
