"""HTTP and JSON beside gRPC: the same calls through the same boundary, transcoded by the contract's descriptors."""

from __future__ import annotations
