# SPDX-License-Identifier: MIT
"""The peers' side of translate.py: reads lines, writes their translations.

With "batch" in the settings it answers each batch of so many lines when it has them, until its
input ends; else it reads everything, translates it and writes it."""

import json
import pathlib
import sys
from collections.abc import Callable

Translate = Callable[[list[str]], list[str]]


def load_ctranslate2(settings: dict) -> Translate:
    import ctranslate2
    import sentencepiece

    directory = pathlib.Path(settings["tokenizer"])
    source, target = (sentencepiece.SentencePieceProcessor(model_file=str(directory / name))
                      for name in ("source.spm", "target.spm"))
    workers, batch = settings["workers"], settings["batch"]
    translator = ctranslate2.Translator(
        settings["model"], device=settings["device"], compute_type=settings["kind"],
        inter_threads=workers, intra_threads=settings["threads"] // workers)
    options = {"beam_size": settings["beam"], "max_input_length": 0}
    if batch:
        options["max_batch_size"] = -(-batch // workers)
    else:
        options |= {"max_batch_size": settings["batch_size"], "batch_type": settings["batch_type"]}
    if settings["length"]:
        options |= {"min_decoding_length": settings["length"],
                    "max_decoding_length": settings["length"]}

    def translate(lines: list[str]) -> list[str]:
        pieces = [tokens + ["</s>"] for tokens in source.encode(lines, out_type=str)]
        results = translator.translate_batch(pieces, **options)
        return target.decode([result.hypotheses[0] for result in results])

    return translate


def load_transformers(settings: dict) -> Translate:
    import torch
    from transformers import MarianMTModel, MarianTokenizer

    torch.set_num_threads(settings["threads"])
    tokenizer = MarianTokenizer.from_pretrained(settings["model"])
    model = MarianMTModel.from_pretrained(settings["model"],
                                          dtype=getattr(torch, settings["kind"]))
    model = model.eval().to(settings["device"])
    length = settings["length"] + 1  # with the start token

    @torch.inference_mode()
    def translate(lines: list[str]) -> list[str]:
        inputs = tokenizer(lines, return_tensors="pt", padding=True).to(settings["device"])
        outputs = model.generate(**inputs, num_beams=settings["beam"], do_sample=False,
                                 min_length=length, max_length=length)
        return tokenizer.batch_decode(outputs, skip_special_tokens=True)

    return translate


def main() -> None:
    settings = json.loads(sys.argv[1])
    load = {"ctranslate2": load_ctranslate2, "transformers": load_transformers}
    translate = load[settings["engine"]](settings)
    if not settings["batch"]:
        print(*translate(sys.stdin.read().splitlines()), sep="\n")
        return
    while first := sys.stdin.readline():
        lines = [first] + [sys.stdin.readline() for _ in range(settings["batch"] - 1)]
        print(*translate([line.rstrip("\n") for line in lines]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
