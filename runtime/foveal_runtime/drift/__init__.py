"""Whether a camera's photographs, and what the model makes of them, are still what they were. Needs no labels, grades nothing.

`signals` says what is watched, `evidence` how a change is told from chance, `watch` follows one reference, `stream` one camera,
`folder` keeps what was counted, `monitor` does all that for a server.
"""
