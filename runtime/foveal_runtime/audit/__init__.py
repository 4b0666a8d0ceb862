"""The audit trail: what was answered to whom, in files that can be appended to and not changed unseen.

Records, their chain, the writer, a check, a FHIR form and a replay live here. No RPC: `rpc.audited` makes records.
Data flows from `trail` to the disk, and from there through `chain` to whoever checks, exports or replays.
"""
