"""The commands of training: `train`, `evaluate`, `sweep`, `data`. They read, report progress and print.

Nothing is decided here: words flow from the command line to `pipeline`, `paper` or `evaluation`, findings to the terminal.
"""
