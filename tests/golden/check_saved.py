#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that transformers and CTranslate2 compute with converted models what they compute with the
original. Usage: check_saved.py CLFORMER MODEL (a Hugging Face Marian directory of one vocabulary)

Needs torch, transformers, sentencepiece and ctranslate2. Not part of the test suite.
"""

import filecmp
import pathlib
import subprocess
import sys
import tempfile

import ctranslate2
import torch
import transformers

torch.set_grad_enabled(False)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
LINES = ["tamatu nari ruki.", "今天天气很好。", "ku"]


def load(path):
    model, info = transformers.MarianMTModel.from_pretrained(
        path, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval(), transformers.MarianTokenizer.from_pretrained(path)


def outputs(path):
    model, tokenizer = load(path)
    batch = tokenizer(LINES, return_tensors="pt", padding=True)
    tokens = model.generate(**batch, num_beams=4, max_new_tokens=40)
    logits = model(**batch, decoder_input_ids=tokens).logits
    return batch.input_ids, tokens, logits, tokenizer.batch_decode(tokens)


def translate(path, sources, compute):
    translator = ctranslate2.Translator(str(path), compute_type=compute, intra_threads=1)
    results = translator.translate_batch(sources, beam_size=4, return_scores=True,
                                         max_decoding_length=40)
    return [(r.hypotheses[0], r.scores[0]) for r in results]


def main(clformer, model):
    directory = pathlib.Path(tempfile.mkdtemp())
    convert = lambda source, name, *options: subprocess.run(
        [clformer, "convert", source, "-o", directory / name, *options], check=True)
    for weights in ("f32", "f16"):
        convert(model, weights, "-w", weights)
    ids, tokens, logits, texts = outputs(model)
    for weights, bound in (("f32", 0), ("f16", 0.05)):
        ids2, tokens2, logits2, texts2 = outputs(directory / weights)
        assert torch.equal(ids, ids2), "the tokenizer differs"
        if weights == "f32":
            assert torch.equal(tokens, tokens2) and texts == texts2
            print("transformers f32: largest difference", (logits - logits2).abs().max().item())
            assert torch.equal(logits, logits2)
        elif tokens.shape == tokens2.shape:
            print("transformers f16: largest difference", (logits - logits2).abs().max().item())

    tokenizer = transformers.MarianTokenizer.from_pretrained(model)
    sources = [tokenizer.convert_ids_to_tokens(tokenizer(line).input_ids) for line in LINES]
    for weights, theirs in (("f32", None), ("f16", "float16"), ("int8", "int8")):
        ours = directory / f"ours-{weights}"
        reference = directory / f"theirs-{weights}"
        convert(model, ours.name, "-f", "ctranslate2", "-w", weights)
        for source, target in ((model, reference), (directory / "f32", directory / f"via-{weights}")):
            ctranslate2.converters.TransformersConverter(str(source)).convert(
                str(target), quantization=theirs)
        same = filecmp.cmp(ours / "model.bin", reference / "model.bin", shallow=False)
        via = filecmp.cmp(directory / f"via-{weights}" / "model.bin", reference / "model.bin",
                          shallow=False)
        vocabularies = [sorted(p.name for p in d.glob("*vocabulary*")) for d in (ours, reference)]
        print(f"CTranslate2 {weights}: bytes as the converter's: {same}; from the saved model: {via};"
              f" vocabularies {vocabularies}")
        # CTranslate2 repacks int8; float32 computation compares the stored values.
        assert via and translate(ours, sources, "float32") == translate(reference, sources, "float32")
        assert translate(ours, sources, "default") == translate(reference, sources, "default")
    print("all is well in", directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
