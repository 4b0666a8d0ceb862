"""From studies to vectors and logits in one process: sessions, providers, compiled graphs, the self-test, grading.

Not here: processes and waiting (`serving`), files and hashes (`bundle`). Pixels, tokens and features flow in; numbers flow out.
"""
