"""foveal's runtime: what a screening box needs to grade, embed and retrieve. Never imports torch, timm or transformers."""

__version__ = "0.1.0"
