"""Other servers around the same graphs, how they are asked, and how a load is counted. `serving_peers.py` runs them."""
