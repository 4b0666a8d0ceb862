"""The two reconstruction decoders (paper, section III-B5). Training alone has them: no run, bundle or vector does.

They read a modality's CLS after fusion and give back what went in, so that the CLS keeps what a loss on grades alone would
drop. The paper gives neither their depth nor their losses; ours: mean squared error over standardised pixels, and
cross-entropy in nats over the note's tokens, the next one predicted from those before it (teacher forcing).
Shapes: B studies, C channels, S the profile's side, T tokens, V vocabulary, D = 256.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal_train.model.profile import EMBEDDING_DIM, DecoderConfig

_DOUBLINGS = 5
"""Transposed convolutions, each of which doubles the side: 7 cells become 224 pixels."""
_NARROWEST = 16
"""Channels below which a layer is not halved any more."""

_PADDING = -100
"""Target of a token that is padding."""


class ImageDecoder(nn.Module):
    """Image CLS to an image: a linear map to a small grid, then transposed convolutions."""

    def __init__(self, side_px: int, config: DecoderConfig) -> None:
        """Args:
        side_px: of the squares to give back; what the last doubling makes beyond it is cut.
        config: widths.
        """
        super().__init__()
        self.side_px = side_px
        self.cells = -(-side_px // 2**_DOUBLINGS)
        widths = [max(_NARROWEST, config.image_channels >> i) for i in range(_DOUBLINGS)]
        self.widest = widths[0]
        # The CLS is a unit vector: normalised over its 256 numbers it has the scale that linear layers start from.
        self.norm = nn.LayerNorm(EMBEDDING_DIM)
        self.spread = nn.Linear(EMBEDDING_DIM, self.widest * self.cells**2)
        layers: list[nn.Module] = []
        for width, narrower in zip(widths, [*widths[1:], 3], strict=True):
            # Group norm, since a batch of eight is too few for batch statistics.
            layers += [nn.GroupNorm(8, width), nn.ReLU(), nn.ConvTranspose2d(width, narrower, 4, stride=2, padding=1)]
        self.upsample = nn.Sequential(*layers)

    def forward(self, cls_BD: Tensor) -> Tensor:
        """`cls_BD` to `pixels_BCSS`, standardised as the encoder's input is."""
        grid = self.spread(self.norm(cls_BD)).view(-1, self.widest, self.cells, self.cells)
        return torch.as_tensor(self.upsample(grid)[:, :, : self.side_px, : self.side_px])


class TextDecoder(nn.Module):
    """Text CLS to the note: a causal transformer that attends to the CLS, output weights tied to its embeddings."""

    def __init__(self, vocabulary: int, max_tokens: int, config: DecoderConfig) -> None:
        """Args:
        vocabulary: of the run's tokenizer.
        max_tokens: of a note.
        config: depth and widths.
        """
        super().__init__()
        self.embed = nn.Embedding(vocabulary, EMBEDDING_DIM)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.position_TD = nn.Parameter(torch.randn(1, max_tokens, EMBEDDING_DIM) * 0.02)
        self.norm = nn.LayerNorm(EMBEDDING_DIM)
        layer = nn.TransformerDecoderLayer(
            EMBEDDING_DIM, config.text_heads, config.text_feedforward_dim, config.dropout, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, config.text_layers, norm=nn.LayerNorm(EMBEDDING_DIM))

    def forward(self, cls_BD: Tensor, input_ids_BT: Tensor) -> Tensor:
        """Logits of each token after those before it.

        Args:
            cls_BD: what to decode.
            input_ids_BT: the note, its first token ([CLS]) standing for the start.

        Returns:
            `logits_BTV`; place t tells token t + 1.
        """
        tokens = input_ids_BT.shape[1]
        x_BTD = self.embed(input_ids_BT) + self.position_TD[:, :tokens]
        causal_TT = torch.ones((tokens, tokens), dtype=torch.bool, device=x_BTD.device).triu(1)
        memory_B1D = self.norm(cls_BD).unsqueeze(1)
        # Padding comes last, so the causal mask already hides it from every token that counts.
        # Said, not found out: torch would look at the mask, and a GPU would stand still meanwhile.
        states_BTD = self.layers(x_BTD, memory_B1D, tgt_mask=causal_TT, tgt_is_causal=True)
        return F.linear(states_BTD, self.embed.weight)


def image_reconstruction_loss(decoded_BCSS: Tensor, pixels_BCSS: Tensor) -> Tensor:
    """Mean squared error over standardised pixels, in float32."""
    return F.mse_loss(decoded_BCSS.float(), pixels_BCSS.float())


def text_reconstruction_loss(logits_BTV: Tensor, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor | None:
    """Mean cross-entropy (nats a token) of tokens 2 to T, padding left out; None when no note has a second token."""
    if input_ids_BT.shape[1] < 2:
        return None
    wanted_BT = attention_mask_BT[:, 1:].bool()
    targets_BT = input_ids_BT[:, 1:].masked_fill(~wanted_BT, _PADDING)
    summed = F.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1).float(), targets_BT.flatten(), ignore_index=_PADDING, reduction="sum"
    )
    return summed / wanted_BT.sum().clamp(min=1)
