"""A bundle on disk and what is proven of it: manifest, hashes, signature, golden studies, the rule by which answers agree.

Not here: how its graphs are run (`engine`). Data flows from files to checked descriptions, and never back.
"""
