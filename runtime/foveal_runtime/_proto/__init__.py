"""Stubs of proto/foveal/v1, written by scripts/proto.py. Not edited by hand."""
