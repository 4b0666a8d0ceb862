"""Tiny BERT and ViT folders in the hub's layout, for tests. No model was trained; the numbers mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

_NOTES = "optic disc with sharp margins drusen normal vessels of the retina macula edema diabetic retinopathy , ."
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_NOTES.split()]
SIDE_PX = 32


def write_bert(folder: Path, *, pooling: str = "", seed: int = 0) -> Path:
    """A BERT of two layers with its tokenizer; `pooling` writes sentence-transformers' file of that mode."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=40,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(
            json.dumps({f"pooling_mode_{pooling}": True, "word_embedding_dimension": 48})
        )
    return folder


def write_vit(folder: Path, *, seed: int = 0) -> Path:
    """A ViT of two layers with what prepares its photographs."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, image_size=SIDE_PX, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    prepares = {"do_resize": True, "size": {"height": SIDE_PX, "width": SIDE_PX}, "do_rescale": True, "rescale_factor": 1 / 255,
                "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(prepares))
    return folder


def change(folder: Path, name: str, **values: object) -> Path:
    """Write other values into one of a folder's JSON files."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder
