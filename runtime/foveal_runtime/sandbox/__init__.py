"""What takes rights away from a process for good: capabilities, system calls, files. Linux alone.

Not here: what a worker does (`serving`), which files it needs (`serving/workerspec`). A policy flows in; what
was reached flows out.
"""
