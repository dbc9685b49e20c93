"""The `clipwise` command line: commands, and their output in the terminal.

`main` holds the app. Modules named after a subject hold its commands, and the `_tables` modules its
output. A command imports heavy libraries when it runs. Imports the flows.
"""
