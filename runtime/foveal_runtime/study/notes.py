"""From a clinical note to token ids. Uses `tokenizers` alone; the tokenizer.json comes with the run or bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import BundleError

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSpec:
    """How a note becomes tokens. Every field changes the embedding space."""

    max_tokens: int = 128
    """Tokens the text encoder reads, [CLS] and [SEP] included; what comes after is cut and reported."""
    kept_tokens: int = 50
    """Encoder outputs that reach the fusion transformer after the CLS (paper, section III-B2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenisedNote:
    """Token ids of one note, unpadded."""

    ids_T: Int64
    truncated: bool
    """True when the note had more tokens than `TextSpec.max_tokens`."""


class NoteTokeniser:
    """Tokenises one note at a time, never padded: who batches, pads."""

    def __init__(self, tokenizer_json: bytes, spec: TextSpec) -> None:
        """Args:
            tokenizer_json: a `tokenizers` file; its own padding and truncation are switched off.
            spec: lengths.

        Raises:
            BundleError: not a tokenizer file.
        """
        from tokenizers import Tokenizer  # 12 MB that the server's parent process does without

        try:
            self._tokenizer = Tokenizer.from_buffer(tokenizer_json)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the binding raises bare Exception, and BaseException for a panic
            raise BundleError(f"tokenizer.json can't be read ({type(error).__name__}); export the bundle again") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._spec = spec

    def __call__(self, note: str) -> TokenisedNote:
        """Normalise white space and tokenise, special tokens included."""
        encoding = self._tokenizer.encode(" ".join(note.split()))
        ids = np.asarray(encoding.ids, dtype=np.int64)
        limit = self._spec.max_tokens
        if ids.size <= limit:
            return TokenisedNote(ids_T=ids, truncated=False)
        # The last kept token stays the separator, as the encoder saw in training.
        return TokenisedNote(ids_T=np.concatenate([ids[: limit - 1], ids[-1:]]), truncated=True)


def pad_notes(notes: list[Int64], pad_id: int = 0) -> tuple[Int64, Int64]:
    """Pad to the longest of `notes`: (`input_ids_BT`, `attention_mask_BT`), both int64, mask 1 where a token stands."""
    length = max(ids.size for ids in notes)
    input_ids_BT = np.full((len(notes), length), pad_id, np.int64)
    attention_mask_BT = np.zeros((len(notes), length), np.int64)
    for row, ids in enumerate(notes):
        input_ids_BT[row, : ids.size] = ids
        attention_mask_BT[row, : ids.size] = 1
    return input_ids_BT, attention_mask_BT
