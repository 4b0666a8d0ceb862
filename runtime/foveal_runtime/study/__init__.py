"""What is known of one eye: study, note, record, labels, the rule for an exam, clinical codes, tables and folders of studies.

Not here: pixels (`photo`), answers (`engine`). Everything above imports this; it imports `errors` alone.
"""
