# SPDX-License-Identifier: MIT
"""The models that are translated with, made once and kept in the working directory."""

import argparse
import json
import os
import pathlib
import shutil

from environment import call
from measure import Failure, Setup, say

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
# Of make_models.py and translate_peer.py. MarianTokenizer wants sentencepiece.
PACKAGES = ("ctranslate2", "sentencepiece", "transformers", "torch", "numpy")
BASE = "6+6 layers, 512/8/2048, vocabulary 32000, random weights"


def add_real_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=pathlib.Path, metavar="DIR",
                        default=SHARED / "models/marian-zh-en",
                        help="a Hugging Face Marian directory (default: %(default)s)")
    parser.add_argument("--text", type=pathlib.Path, metavar="FILE",
                        default=SHARED / "data/tatoeba-zh-en/dev.zh",
                        help="lines for that model (default: %(default)s)")


def make(setup: Setup, output: pathlib.Path, words: list[str | pathlib.Path]) -> pathlib.Path:
    """Has make_models.py fill `output`, which is complete if it is there."""
    if not output.exists():
        say(f"making {output}")
        partial = output.with_name(output.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        call([setup.python, HERE / "make_models.py",
              *(partial if word == output else word for word in words)])
        os.rename(partial, output)
    return output


def random_base(setup: Setup, positions: int = 512) -> pathlib.Path:
    """Transformer-base with random weights for sequences of at most `positions` tokens."""
    output = setup.work / f"random-base-{positions}"
    return make(setup, output, ["random", output, str(positions)])


def for_ctranslate2(setup: Setup, model: pathlib.Path, weights: str) -> pathlib.Path:
    """The model as CTranslate2's converter writes it with weights of this type."""
    if not (model / "config.json").exists():
        raise Failure(f"{model}: not a Hugging Face directory; see --model")
    output = setup.work / f"{model.resolve().name}-ct2-{weights}"
    return make(setup, output, ["convert", model, output, weights])


def words_of(model: pathlib.Path) -> list[str]:
    """What random_base() has as pieces, in the order of their ids."""
    pieces = json.loads((model / "vocab.json").read_text())
    return [piece.removeprefix("\u2581") for piece in pieces if piece.startswith("\u2581")]
