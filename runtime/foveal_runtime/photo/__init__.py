"""From a photograph's bytes to pixels: formats, DICOM, raw pixels, headers, cropping, whether it can be graded.

Not here: what the pixels mean (`engine`). Bytes flow in; squares and quality flow out.
"""
