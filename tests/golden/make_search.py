#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes search.tsv: what transformers' `generate` finds for small random models.

usage: make_search.py [cases] > search.tsv     (needs torch and transformers >= 4.53)

The logits of a model are a function of (seed, sentence, position, last token, token) that the test
computes as well. Cases in which two scores that decide something lie within 1e-4 are left out, for
the library does not say which of equals it takes. Where fewer than K hypotheses exist it fills up
with garbage of scores about -1e9: these are left out, and so is a case where garbage ends a search.

Lines:
  case seed vocabulary beam nbest length_penalty early_stopping max_length min_length forced_bos
       forced_eos end_bias ends(a,b) prefix(a,b) sentences steps(-1: garbage was about)
  hyp  sentence score tokens(a,b; prefix included)
"""
import random
import sys
import warnings

import numpy
import torch
import transformers
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.generation.utils import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()

MASK = (1 << 64) - 1
START, GAP, GARBAGE = 1, 1e-4, -1e8
EARLY = [False, True, "never"]


def mix(state):
    """splitmix64, as in src/base/rng.h"""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def logit(case, sentence, position, last, token):
    key = (((case["seed"] * 16 + sentence) * 64 + position) * 16 + last) * 16 + token
    uniform = numpy.float32(mix(key) >> 40) * numpy.float32(2.0**-24)
    value = numpy.float32(-3) + numpy.float32(6) * uniform
    return value + numpy.float32(case["bias"] if token in case["ends"] else 0)


class Tie(Exception):
    pass


class Stub(PreTrainedModel, GenerationMixin):
    config_class = PretrainedConfig

    def __init__(self, case):
        super().__init__(PretrainedConfig(vocab_size=case["V"]))
        self.case, self.steps, self.garbage = case, 0, False
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, **_):
        case, (rows, length) = self.case, input_ids.shape
        self.steps += 1
        logits = numpy.zeros((rows, length, case["V"]), dtype=numpy.float32)
        for row in range(rows):
            sentence = row // (rows // case["sentences"])
            last = int(input_ids[row, -1])
            for token in range(case["V"]):
                logits[row, -1, token] = logit(case, sentence, length - 1, last, token)
        return CausalLMOutput(logits=torch.from_numpy(logits))

    def _get_top_k_continuations(self, accumulated_log_probs, **more):
        keep = more["beams_to_keep"] + 1
        for sums in accumulated_log_probs:
            best = sums[sums > GARBAGE].sort(descending=True)[0][:keep]
            if (best[:-1] - best[1:] < GAP).any():
                raise Tie
        return super()._get_top_k_continuations(
            accumulated_log_probs=accumulated_log_probs, **more)

    def _update_finished_beams(self, **more):
        result = super()._update_finished_beams(**more)
        for scores, finished in zip(result[1], result[3]):
            real = scores[finished & (scores > GARBAGE)]
            if (real[:-1] - real[1:] < GAP).any():
                raise Tie
            self.garbage |= bool((finished & (scores <= GARBAGE)).any())
        return result

    def _check_early_stop_heuristic(self, **more):
        result = super()._check_early_stop_heuristic(**more)
        n = more["cur_len"] - more["decoder_prompt_len"]
        if more["early_stopping"] == "never" and more["length_penalty"] > 0:
            n = more["max_length"] - more["decoder_prompt_len"]
        best = more["running_beam_scores"][:, 0] / n ** more["length_penalty"]
        if ((best - more["beam_scores"].min(dim=1)[0]).abs() < GAP).any():
            raise Tie
        if more["cur_len"] < more["max_length"]:
            dead = more["running_beam_scores"][:, :1] < GARBAGE
            self.garbage |= bool((result & dead).any())
        return result


def draw(seed):
    r = random.Random(seed)
    vocabulary, beam = r.randint(3, 12), r.choice([1, 2, 2, 3, 3, 4, 5])
    ends = r.sample([t for t in range(vocabulary) if t != START], r.choice([1, 1, 2]))
    prefix = [r.randrange(vocabulary) for _ in range(r.choice([0, 0, 0, 1, 3]))]
    longest = r.randint(2 + len(prefix), 12)
    return {
        "seed": seed, "V": vocabulary, "K": beam, "nbest": r.randint(1, beam),
        "lp": r.choice([-1.0, 0.0, 0.6, 1.0, 1.0, 2.0]), "early": r.randrange(3),
        "max": longest, "min": r.choice([0, 0, 0, r.randint(1, longest)]),
        "bos": r.choice([-1, -1, -1, r.randrange(vocabulary)]),
        "eos": r.choice([-1, -1, ends[0]]), "bias": r.choice([-1.0, 0.0, 1.0, 2.0]),
        "ends": ends, "prefix": prefix, "sentences": r.choice([1, 2, 3]),
    }


def greedy_score(case, sentence, tokens):
    total, generated = 0.0, tokens[len(case["prefix"]):]
    for position in range(len(case["prefix"]), len(tokens)):
        last_place = position == case["max"] - 2
        if (last_place and case["eos"] >= 0) or (position == 0 and case["bos"] >= 0):
            continue
        last = tokens[position - 1] if position else START
        row = [logit(case, sentence, position, last, t) for t in range(case["V"])]
        total += float(torch.tensor(row).log_softmax(0)[tokens[position]])
    return total / len(generated) ** case["lp"]


def cut(case, row):
    tokens = []
    for token in row[1:]:
        tokens.append(token)
        if len(tokens) > len(case["prefix"]) and token in case["ends"]:
            break
    return tokens


def run(case):
    model = Stub(case)
    prompt = torch.tensor([[START] + case["prefix"]] * case["sentences"])
    optional = {"length_penalty": case["lp"], "early_stopping": EARLY[case["early"]]}
    output = model.generate(
        prompt, attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            do_sample=False, use_cache=False, num_beams=case["K"],
            num_return_sequences=case["nbest"], max_length=case["max"], min_length=case["min"],
            forced_bos_token_id=case["bos"] if case["bos"] >= 0 else None,
            forced_eos_token_id=case["eos"] if case["eos"] >= 0 else None,
            eos_token_id=case["ends"], pad_token_id=case["ends"][0],
            return_dict_in_generate=True, output_scores=True,
            **(optional if case["K"] > 1 else {})))
    hypotheses = []
    for i, row in enumerate(output.sequences.tolist()):
        sentence, tokens = i // case["nbest"], cut(case, row)
        if case["K"] == 1:
            score = greedy_score(case, sentence, tokens)
        else:
            score = float(output.sequences_scores[i])
        if score > GARBAGE:
            hypotheses.append((sentence, score, tokens))
    if model.garbage and case["early"] == 1:
        raise Tie
    return hypotheses, -1 if model.garbage else model.steps


def listed(tokens):
    return ",".join(map(str, tokens)) or "-"


def main():
    wanted, seed, written = int(sys.argv[1]) if len(sys.argv) > 1 else 300, 0, 0
    while written < wanted:
        seed += 1
        case = draw(seed)
        try:
            hypotheses, steps = run(case)
        except Tie:
            continue
        written += 1
        print("case", *(case[k] for k in ["seed", "V", "K", "nbest", "lp", "early", "max", "min",
                                          "bos", "eos", "bias"]),
              listed(case["ends"]), listed(case["prefix"]), case["sentences"], steps, sep="\t")
        for sentence, score, tokens in hypotheses:
            print("hyp", sentence, f"{score:.7g}", listed(tokens), sep="\t")
    print(f"{seed} cases drawn, {written} kept", file=sys.stderr)


main()
