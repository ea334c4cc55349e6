#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes bleu.tsv: what sacreBLEU says of nasty segments, and of a corpus.

usage: make_bleu.py [FLORES_DIRECTORY] > bleu.tsv     (needs sacrebleu 2.6)

FLORES_DIRECTORY holds flores-dev.en and flores-dev.SYSTEM.en. Without it the `corpus` lines are
taken over from the bleu.tsv beside this file.

Lines (\\\\, \\t, \\n and \\r stand for themselves in texts; A;B are references, A = segment,segment):
  segment  text                                  numbered from 0
  bleu     tokenize lowercase effective_order max_order smooth value hypotheses references
           score bp hypothesis_length reference_length precisions signature
  chrf     char_order word_order beta lowercase whitespace eps hypotheses references
           score name signature
  corpus   system score: 13a zh char none chrF2 chrF2++
"""
import logging
import pathlib
import random
import sys

from sacrebleu.metrics import BLEU, CHRF

TOKENIZE = ["13a", "zh", "char", "none"]
SYSTEMS = ["argos", "bergamot-base-memory", "bergamot-base", "nllb", "opusmt"]
CASES, FAMILIES = 180, 24

# Scripts, quotes, entities, numbers, emoji, white space of many kinds, letters whose lower case is
# longer or depends on where they stand, characters at the ends of the zh ranges.
UNITS = """我 喜欢 公司 “ ” ’ 。 ， 、 （ ） ％ a The the cat sat on mat. ΟΔΟΣ ΣΑΣ. Σ İstanbul ß Ünï 3.14 1,000 1,
.5 -5 5-6 a-5 - -- . , .. ... ., (hi) (hi don't 's "q" &amp; &lt; &gt; &quot; &amp;lt; & &am p; <skipped>
< > [x] {y} ~ / \\ @ % ^ _ ` ! ? : ; * + = $ # | — … → 😀 👍🏽 𠀀 ２ ｶ ٣. १, e\u0301 ﬁ ⅷ Ǆ \u2001 \u2a6d \u2a6e
\u3400 \u4db5 \u4db6 \u9fbb \u9fbc \uffef \ufff0 \u200b \ufeff \u180e \u0001 \u007f""".split()
BLANKS = [" ", " ", " ", " ", "", "", "  ", "\t", "\n", "-\n", "\u00a0", "\u3000", "\u2028", "\x1c", "\x85", "\r"]


def make_segment(rng):
    count = rng.choice([0, 1, 3, 6, 9, 12, 16])
    return "".join(rng.choice(UNITS) + rng.choice(BLANKS) for _ in range(count))


def change(rng, text):
    """Another translation: a few units replaced, removed, inserted or in capitals."""
    words = text.split(" ")
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(words) + 1)
        words[at:at + rng.randrange(3)] = rng.sample(UNITS, rng.randrange(3))
    text = " ".join(words)
    return text.upper() if rng.random() < 0.15 else text


def escape(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def emit(*fields):
    print(*(int(f) if isinstance(f, bool) else repr(f) if isinstance(f, float) else f
            for f in fields), sep="\t")


def bleu_case(rng, hypotheses, references, numbers):
    smooth = rng.choice(["exp", "exp", "floor", "add-k", "none"])
    value = rng.choice([0, 0, 0.01, 2.5]) if smooth in ("floor", "add-k") else 0
    order = rng.choice([4, 4, 4, 4, 1, 2, 6, 9])
    tokenize, lowercase, effective = rng.choice(TOKENIZE), rng.random() < 0.4, rng.random() < 0.4
    bleu = BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=effective,
                smooth_method=smooth, smooth_value=value or None, max_ngram_order=order)
    score = bleu.corpus_score(hypotheses, references)
    emit("bleu", tokenize, lowercase, effective, order, smooth, value, *numbers, score.score,
         score.bp, score.sys_len, score.ref_len, ",".join(f"{p:.11g}" for p in score.precisions),
         bleu.get_signature())


def chrf_case(rng, hypotheses, references, numbers):
    chars, words = rng.choice([6, 6, 6, 1, 3, 10]), rng.choice([0, 0, 2, 2, 1, 4])
    beta = rng.choice([2, 2, 1, 3])
    lowercase, whitespace, eps = (rng.random() < 0.4 for _ in range(3))
    chrf = CHRF(char_order=chars, word_order=words, beta=beta, lowercase=lowercase,
                whitespace=whitespace, eps_smoothing=eps)
    score = chrf.corpus_score(hypotheses, references)
    emit("chrf", chars, words, beta, lowercase, whitespace, eps, *numbers, score.score, score.name,
         chrf.get_signature())


def cases():
    rng = random.Random(7)
    families = []  # segments that are like each other
    number = 0
    for _ in range(FAMILIES):
        first = make_segment(rng)
        texts = [first] + [change(rng, first) for _ in range(3)]
        for text in texts:
            emit("segment", escape(text))
        families.append([(number + i, text) for i, text in enumerate(texts)])
        number += len(texts)
    for case in range(2 * CASES):
        count, references = rng.choice([1, 1, 2, 3, 5]), rng.choice([1, 1, 1, 2, 3])
        rows = [rng.sample(f, references + 1) for f in rng.sample(families, count)]
        columns = list(zip(*rows))
        numbers = [",".join(str(n) for n, _ in column) for column in columns]
        texts = [[text for _, text in column] for column in columns]
        make = bleu_case if case % 2 else chrf_case
        make(rng, texts[0], texts[1:], (numbers[0], ";".join(numbers[1:])))


def read(path):
    return path.read_bytes().decode().split("\n")[:-1]


def corpus(directory):
    reference = [read(directory / "flores-dev.en")]
    metrics = [BLEU(tokenize=t) for t in TOKENIZE] + [CHRF(), CHRF(word_order=2)]
    for system in SYSTEMS:
        lines = read(directory / f"flores-dev.{system}.en")
        emit("corpus", system, *(m.corpus_score(lines, reference).score for m in metrics))


def main():
    logging.disable(logging.WARNING)
    kept = pathlib.Path(__file__).with_name("bleu.tsv")
    old = [line for line in read(kept) if line.startswith("corpus\t")] if kept.exists() else []
    cases()
    if len(sys.argv) > 1:
        corpus(pathlib.Path(sys.argv[1]))
    else:
        print(*old, sep="\n")


main()
