"""The studies an export looks at: which, prepared how, and the inputs that they give each graph.

Not here: the answers (`parity`). Samples of a run's data flow in; cases and feeds flow out.
"""
