"""What an export writes: graphs' files, golden studies, model card, provenance.

Not here: what is written (`graphs`, `quantise`), whether it may be (`parity`). Protos and reports flow in; files flow out.
"""
