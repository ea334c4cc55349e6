# SPDX-License-Identifier: MIT
"""Makes models for models.py, in the venv: `random DIR POSITIONS`, `convert DIR OUTPUT TYPE`."""

import json
import pathlib
import sys

LAYERS, WIDTH, HEADS, FFN, VOCABULARY = 6, 512, 8, 2048, 32000  # Transformer-base


def make_random(directory: pathlib.Path, positions: int) -> None:
    """A Hugging Face Marian directory with random weights, whose pieces are words."""
    import sentencepiece
    import torch
    from transformers import MarianConfig, MarianMTModel

    words = [f"w{i}" for i in range(2, VOCABULARY - 1)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_prefix=str(directory / "words"), model_type="word",
        vocab_size=VOCABULARY, hard_vocab_limit=False, minloglevel=2)
    text = (directory / "words.model").read_bytes()
    for side in ("source.spm", "target.spm"):
        (directory / side).write_bytes(text)
    pieces = ["</s>", "<unk>", *("\u2581" + word for word in words), "<pad>"]
    (directory / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (directory / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "MarianTokenizer", "source_lang": "a", "target_lang": "b",
         "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
         "model_max_length": positions}))
    torch.manual_seed(1)
    pad = VOCABULARY - 1
    config = MarianConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=FFN,
        decoder_ffn_dim=FFN, activation_function="relu", max_position_embeddings=positions,
        init_std=WIDTH**-0.5, scale_embedding=True, eos_token_id=0, pad_token_id=pad,
        decoder_start_token_id=pad, forced_eos_token_id=None)
    model = MarianMTModel(config)
    model.generation_config.bad_words_ids = [[pad]]
    model.save_pretrained(directory)


def convert(directory: pathlib.Path, output: pathlib.Path, weights: str) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(directory)).convert(
        str(output), quantization=None if weights == "float32" else weights, force=True)


if __name__ == "__main__":
    PATHS = sys.argv[2:]
    if sys.argv[1] == "random":
        make_random(pathlib.Path(PATHS[0]), int(PATHS[1]))
    else:
        convert(pathlib.Path(PATHS[0]), pathlib.Path(PATHS[1]), PATHS[2])
