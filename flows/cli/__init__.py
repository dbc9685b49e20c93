"""The `clipwise` command line: commands, and what they print.

`main` holds the app. Heavy imports stay inside the commands. Imports the flows.
"""
