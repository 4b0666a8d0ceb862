"""The `foveal` commands: read what a person typed, ask the rooms below or a server, print.

Nothing is decided here. Data flows from the command line to `client`, `serving` or `engine`, and back to the terminal.
"""
