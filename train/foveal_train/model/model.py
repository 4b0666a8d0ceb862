"""The multimodal model: three encoders and the fusion transformer, for any subset of modalities per row. Trains nothing.

Shapes: B studies, M = 3 modalities in the order of `Modality`, T tokens, D = 256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality
from foveal_train.model.encoders import ImageEncoder, StructuredEncoder, TextEncoder, rest_frozen
from foveal_train.model.fusion import Fused, Fusion

HEAD_PREFIXES = ("fusion.head_",)
"""Parameters that are no part of the embedding space: changing them leaves every vector as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInputs:
    """Tensors of a batch; a modality that no row has is None, rows without it hold anything and are masked."""

    present_BM: Tensor
    """bool: which modalities each row has."""
    pixels_BCHW: Tensor | None = None
    input_ids_BT: Tensor | None = None
    attention_mask_BT: Tensor | None = None
    features_BF: Tensor | None = None
    image_states_BTF: Tensor | None = None
    """In place of the pixels: what the image encoder's frozen blocks made of them (training alone)."""
    text_states_BTF: Tensor | None = None
    """In place of the token ids: what the text encoder's frozen layers made of them (training alone)."""
    host_BM: npt.NDArray[np.bool_] | None = None
    """`present_BM` as the host knows it; without it a device is asked, and everything waits for its answer."""

    def to(self, device: torch.device) -> ModelInputs:
        """The same inputs on another device."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: each.to(device, non_blocking=True) if isinstance(each, Tensor) else each for name, each in given.items()
        }
        return ModelInputs(**moved)

    def on_host(self) -> npt.NDArray[np.bool_]:
        """`present_BM` on the host."""
        return self.present_BM.cpu().numpy() if self.host_BM is None else self.host_BM


def index_of(rows_B: npt.NDArray[np.bool_] | Tensor, device: torch.device) -> Tensor:
    """Numbers of the rows that are True, on a device; a mask of the host's makes nobody wait."""
    if isinstance(rows_B, Tensor):
        return rows_B.nonzero().squeeze(1).to(device)
    return torch.from_numpy(np.flatnonzero(rows_B)).to(device, non_blocking=True)


class MultimodalModel(nn.Module):
    """The model of DESIGN, section 4; the paper's section III with masking, so that any subset is a legal input."""

    def __init__(self, image: ImageEncoder, text: TextEncoder, structured: StructuredEncoder, fusion: Fusion) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.structured = structured
        self.fusion = fusion

    @property
    def embedding_dim(self) -> int:
        """Width of its tokens and vectors."""
        return int(self.fusion.embedding_dim)

    def no_logits(self) -> dict[Head, npt.NDArray[np.float32]]:
        """Logits of no study, `[0, G]` by head."""
        return {head: np.zeros((0, count), np.float32) for head, count in self.fusion.classes.items()}

    def train(self, mode: bool = True) -> MultimodalModel:
        """Set the mode; parts that are frozen whole stay in evaluation mode."""
        super().train(mode)
        rest_frozen(self)
        return self

    def encode(self, inputs: ModelInputs) -> dict[Modality, tuple[Tensor, Tensor]]:
        """Tokens of each modality that occurs in the batch, with their token masks: (`tokens_BTD`, `mask_BT`).

        Rows that lack the modality get zero tokens; their masks are all True and are combined with presence in `fuse`.
        """
        encoded: dict[Modality, tuple[Tensor, Tensor]] = {}
        known_BM = inputs.on_host()
        shown_M = [bool(known_BM[:, column].any()) for column in range(len(Modality))]
        if inputs.image_states_BTF is not None and shown_M[0]:
            tokens = self._on_present(known_BM[:, 0], self.image.trained_part, inputs.image_states_BTF)
            encoded[Modality.IMAGE] = tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        elif inputs.pixels_BCHW is not None and shown_M[0]:
            tokens = self._on_present(known_BM[:, 0], self.image, inputs.pixels_BCHW)
            encoded[Modality.IMAGE] = tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if inputs.input_ids_BT is not None and inputs.attention_mask_BT is not None and shown_M[1]:
            given = inputs.input_ids_BT if inputs.text_states_BTF is None else inputs.text_states_BTF
            encoder = self.text if inputs.text_states_BTF is None else self.text.trained_part
            tokens = self._on_present(known_BM[:, 1], encoder, given, inputs.attention_mask_BT)
            encoded[Modality.TEXT] = tokens, inputs.attention_mask_BT[:, : self.text.kept].bool()
        if inputs.features_BF is not None and shown_M[2]:
            tokens = self._on_present(known_BM[:, 2], self.structured, inputs.features_BF)
            encoded[Modality.STRUCTURED] = tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return encoded

    @staticmethod
    def _on_present(present_B: npt.NDArray[np.bool_], encoder: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run an encoder on the rows that have its modality; the others' tokens are zero."""
        if present_B.all():
            return torch.as_tensor(encoder(*tensors))
        rows = index_of(present_B, tensors[0].device)
        part = encoder(*(tensor[rows] for tensor in tensors))
        whole: Tensor = part.new_zeros((present_B.shape[0], *part.shape[1:]))
        return whole.index_copy(0, rows, part)

    def fuse(self, encoded: Mapping[Modality, tuple[Tensor, Tensor]], present_BM: Tensor) -> Fused:
        """One fusion pass over the modalities that `present_BM` (bool) lets each row see."""
        some_tokens = next(iter(encoded.values()))[0]
        batch, dim = present_BM.shape[0], some_tokens.shape[-1]
        heads: list[Tensor] = []
        bodies: list[Tensor] = []
        body_masks: list[Tensor] = []
        for column, modality in enumerate(Modality):
            if modality not in encoded:
                heads.append(some_tokens.new_zeros((batch, 1, dim)))
                continue
            tokens, mask = encoded[modality]
            here_B1 = present_BM[:, column : column + 1]
            heads.append(tokens[:, :1] * here_B1.unsqueeze(-1).to(tokens.dtype))
            bodies.append(tokens[:, 1:])
            body_masks.append(mask[:, 1:] & here_B1)
        tokens_BTD, mask_BT = torch.cat([*heads, *bodies], dim=1), torch.cat([present_BM, *body_masks], dim=1)
        return Fused(*self.fusion(tokens_BTD, mask_BT))

    def forward(self, inputs: ModelInputs) -> Fused:
        """One joint pass over everything given."""
        return self.fuse(self.encode(inputs), inputs.present_BM)

    def alone(
        self,
        encoded: Mapping[Modality, tuple[Tensor, Tensor]],
        rows_B: npt.NDArray[np.bool_] | Tensor,
        modality: Modality,
    ) -> Fused:
        """A pass in which the rows of `rows_B` (bool, all of which have `modality`) see that modality alone.

        Returns:
            Outputs for those rows only, in their order: a row that attends to nothing has no answer.
        """
        tokens_BTD, mask_BT = encoded[modality]
        rows = index_of(rows_B, tokens_BTD.device)
        present_BM = torch.zeros((rows.shape[0], len(Modality)), dtype=torch.bool, device=tokens_BTD.device)
        present_BM[:, list(Modality).index(modality)] = True
        return self.fuse({modality: (tokens_BTD[rows], mask_BT[rows])}, present_BM)
