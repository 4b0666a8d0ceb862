"""Who may do what: roles, tokens and their file, files that are for their owner alone, files that are read again.

Knows no RPC and no socket. Rows flow out to whoever asks (`rpc/access`), and into the file from `foveal token`.
"""
