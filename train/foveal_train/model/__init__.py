"""The network: encoders, fusion, decoders, pretrained weights, profiles.

Not here: how it is trained (`training`). Tensors flow from the encoders through the fusion to vectors and logits.
"""
