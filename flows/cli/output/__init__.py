"""The output of the commands in the terminal: tables, sentences and progress, by Rich.

`terminal` holds the consoles; the other modules are named after their subject. They print results
that commands hand in, and import the flows for types and feature differences.
"""
