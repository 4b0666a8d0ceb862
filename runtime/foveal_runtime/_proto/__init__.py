"""Stubs of proto/foveal/v1 and proto/inference, written by scripts/proto.py. Not edited by hand."""
