#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the tiny models in this directory and what other programs compute with them.

Needs torch, transformers, sentencepiece, numpy and ctranslate2; see README.md. The weights are
random but fixed by seeds, drawn large enough that outputs vary, and drawn again until no choice of
the searches is close: float32 and float64 then give the same tokens.
"""

import io
import json
import pathlib
import shutil
import struct

import ctranslate2
import numpy as np
import sentencepiece
import torch
import transformers
from ctranslate2.specs import common_spec, transformer_spec

HERE = pathlib.Path(__file__).resolve().parent
LINES = 5  # sentences of each golden file
MAX_LENGTH = 20
torch.set_grad_enabled(False)
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


# ---- text: two invented languages ----------------------------------------------------------------


def make_lines(seed, consonants, vowels, count):
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in consonants for v in vowels]
    words = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(40)]
    return [" ".join(rng.choice(words, rng.integers(2, 7))) + "." for _ in range(count)]


def train_spm(lines, size):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type="unigram",
        normalization_rule_name="identity", character_coverage=1.0, hard_vocab_limit=False,
        eos_id=0, unk_id=1, bos_id=-1, pad_id=-1, num_threads=1, minloglevel=2)
    return model.getvalue()


def pieces_of(model):
    spm = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [spm.id_to_piece(i) for i in range(spm.get_piece_size())]


SOURCE_LINES = make_lines(1, "kmtnrs", "aiu", 400)
TARGET_LINES = make_lines(2, "bdglvz", "eoé", 400)
SOURCE_SPM = train_spm(SOURCE_LINES, 48)
TARGET_SPM = train_spm(TARGET_LINES, 56)
SOURCE = sentencepiece.SentencePieceProcessor(model_proto=SOURCE_SPM)
TARGET = sentencepiece.SentencePieceProcessor(model_proto=TARGET_SPM)


def vocabulary(*models):
    """Marian's order: the end, the unknown, the pieces, padding last."""
    pieces = ["</s>", "<unk>"]
    for model in models:
        pieces += [p for p in pieces_of(model) if p not in pieces]
    return {piece: i for i, piece in enumerate(pieces + ["<pad>"])}


def write_text(directory, source, target=None):
    (directory / "source.spm").write_bytes(SOURCE_SPM)
    (directory / "target.spm").write_bytes(TARGET_SPM)
    dump = lambda name, value: (directory / name).write_text(
        json.dumps(value, ensure_ascii=False, indent=0) + "\n")
    dump("vocab.json", source)
    if target:
        dump("target_vocab.json", target)
    dump("tokenizer_config.json", {
        "source_lang": "src", "target_lang": "tgt", "tokenizer_class": "MarianTokenizer",
        "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
        "separate_vocabs": bool(target)})


def encode(spm, ids, line):
    return [ids.get(p, ids["<unk>"]) for p in spm.encode(line, out_type=str)]


def decode(ids, tokens):
    names = {i: p for p, i in ids.items()}
    return TARGET.decode_pieces([names[t] for t in tokens if t > 0])


# ---- Hugging Face Marian -------------------------------------------------------------------------


def randomise(model, seed, sharp):
    generator = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        if "embed_positions" in name:
            continue
        if "norm" in name and name.endswith("weight"):
            p.copy_(1 + 0.2 * noise)
        elif name.endswith("bias"):
            p.copy_(0.1 * noise)
        else:
            # Sharp attention makes outputs follow the source.
            spread = sharp if "q_proj" in name or "k_proj" in name else 2
            p.copy_(spread * noise / p.shape[-1] ** 0.5)
    bias = torch.randn(model.final_logits_bias.shape, generator=generator)
    return bias


def generate(model, ids, beams):
    out = model.generate(torch.tensor([ids]), num_beams=beams, num_return_sequences=beams,
                         return_dict_in_generate=True, output_scores=True)
    scores = model.compute_transition_scores(
        out.sequences, out.scores, out.get("beam_indices"), normalize_logits=False)
    if beams == 1:
        logits = torch.stack(out.scores, 1).log_softmax(-1)
        picked = logits.gather(-1, out.sequences[:, 1:, None])[..., 0]
        return [(cut(out.sequences[0]), picked.sum().item(), logits)]
    return [(cut(s), v.item(), None) for s, v in zip(out.sequences, out.sequences_scores)]


def cut(sequence):
    tokens = sequence[1:].tolist()
    return tokens[:tokens.index(0) + 1] if 0 in tokens else tokens


def outputs(model, inputs):
    return [(generate(model, i, 1), generate(model, i, 4)) for i in inputs]


def is_varied(model, inputs):
    """Greedy outputs end at different places, use many tokens and no step is a close call."""
    results = [generate(model, i, 1)[0] for i in inputs]
    best = [r[2].topk(2).values[0] for r in results]
    return (len({len(r[0]) for r in results}) >= 3
            and len({token for r in results for token in r[0]}) >= 6
            and min((b[:, 0] - b[:, 1]).min() for b in best) > 1e-3)


def is_clear(single, double):
    """No close call: float64 gives the same tokens, scores keep their distance, and rounding is not
    blown up on the way."""
    for (g, b), (g2, b2) in zip(single, double):
        if [h[0] for h in g + b] != [h[0] for h in g2 + b2]:
            return False
        if abs(g[0][1] - g2[0][1]) > 1e-5:
            return False
        scores = [h[1] for h in b]
        if min(x - y for x, y in zip(scores, scores[1:])) < 2e-4:
            return False
    return True


def forced(model, inputs, targets, start):
    """Log-probabilities of given targets, all in one list."""
    logits = [model(input_ids=torch.tensor([i]), decoder_input_ids=torch.tensor([[start] + t[:-1]]))
              .logits[0].log_softmax(-1)[range(len(t)), t] for i, t in zip(inputs, targets)]
    return torch.cat(logits)


def raise_end(model, shift):
    """Raises the logit of the end token by about `shift`, along the mean of the last norm."""
    mean = model.model.decoder.layers[-1].final_layer_norm.bias
    model.lm_head.weight[0] += shift * mean / mean.square().sum()


def write_golden(directory, lines, inputs, results, model, start, target_ids):
    numbers = lambda values: " ".join(map(str, values))
    with open(directory / "greedy.tsv", "w") as greedy, open(directory / "beam4.tsv", "w") as beam:
        for n, (line, ids, (g, b)) in enumerate(zip(lines, inputs, results), 1):
            tokens, score, _ = g[0]
            print(line, numbers(ids), numbers(tokens), f"{score:.6f}", decode(target_ids, tokens),
                  sep="\t", file=greedy)
            for rank, (tokens, score, _) in enumerate(b, 1):
                print(n, rank, numbers(tokens), f"{score:.6f}", decode(target_ids, tokens),
                      sep="\t", file=beam)
    offset, blob = 0, b""
    with open(directory / "logits.tsv", "w") as table:
        for ids, (g, b) in list(zip(inputs, results))[:2]:
            target = g[0][0]
            logits = model(input_ids=torch.tensor([ids]),
                           decoder_input_ids=torch.tensor([[start] + target[:-1]])).logits[0]
            rows, columns = logits.shape
            print(numbers(ids), numbers(target), rows, columns, offset, sep="\t", file=table)
            blob += logits.numpy().astype("<f4").tobytes()
            offset += rows * columns
    (directory / "logits.f32").write_bytes(blob)


def make_marian(name, *, dtype=torch.float32, shard=None, bias=0.0, separate=False, first_seed=0,
                sharp=4, steady=False, **config):
    """`steady`, for a model that is converted: outputs have no unknown or lone blank pieces, and
    rounding is not blown up on given targets either. `first_seed` saves trying those before it."""
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    source = vocabulary(SOURCE_SPM) if separate else vocabulary(SOURCE_SPM, TARGET_SPM)
    target = vocabulary(TARGET_SPM) if separate else source
    start = target["<pad>"]
    settings = dict(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        activation_function="swish", scale_embedding=True, max_position_embeddings=64,
        vocab_size=len(source), decoder_vocab_size=len(target),
        share_encoder_decoder_embeddings=not separate, dropout=0.0,
        pad_token_id=source["<pad>"], decoder_start_token_id=start, eos_token_id=0,
        bos_token_id=0, forced_eos_token_id=None)
    settings.update(config)
    lines = SOURCE_LINES[:LINES]
    inputs = [encode(SOURCE, source, line) + [0] for line in lines]
    targets = [encode(TARGET, target, line) + [0] for line in TARGET_LINES[:LINES]]
    for seed in range(first_seed, first_seed + 1000):
        model = transformers.MarianMTModel(transformers.MarianConfig(**settings)).eval()
        noise = randomise(model, seed, sharp)
        raise_end(model, 1 + seed % 4)
        model.get_encoder().embed_tokens.weight[source["<pad>"]] = 0
        model.model.decoder.embed_tokens.weight[start] = 0
        model.final_logits_bias.copy_(bias * noise)
        model.generation_config = transformers.GenerationConfig(
            num_beams=4, max_length=MAX_LENGTH, bad_words_ids=[[start]], forced_eos_token_id=0,
            pad_token_id=source["<pad>"], eos_token_id=0, bos_token_id=0,
            decoder_start_token_id=start, renormalize_logits=True)
        if not is_varied(model, inputs):
            continue
        shutil.rmtree(directory, ignore_errors=True)
        extra = {"max_shard_size": shard} if shard else {}
        model.to(dtype).save_pretrained(directory, **extra)
        model = transformers.MarianMTModel.from_pretrained(directory, dtype=torch.float32).eval()
        single, single_forced = outputs(model, inputs), forced(model, inputs, targets, start)
        model = transformers.MarianMTModel.from_pretrained(directory, dtype=torch.float64).eval()
        double = outputs(model, inputs)
        readable = all(t not in (1, target["\u2581"]) for g, _ in double for t in g[0][0])
        strayed = (forced(model, inputs, targets, start) - single_forced).abs().max()
        if is_clear(single, double) and (not steady or (readable and strayed < 1e-5)):
            break
    else:
        raise SystemExit(f"{name}: no seed gives a clear case")
    write_text(directory, source, target if separate else None)
    write_golden(directory, lines, inputs, double, model, start, target)
    print(name, "seed", seed, "lengths", [len(g[0][0]) for g, _ in double])


# ---- CTranslate2 ---------------------------------------------------------------------------------


def write_scores(directory, sources, targets):
    """Quantised weights are taken back to float32, as in clformer."""
    translator = ctranslate2.Translator(str(directory), compute_type="float32", intra_threads=1)
    greedy = translator.translate_batch(sources, beam_size=1, max_decoding_length=MAX_LENGTH,
                                        return_scores=True)
    with open(directory / "greedy.tsv", "w") as file:
        for source, result in zip(sources, greedy):
            print(" ".join(source), " ".join(result.hypotheses[0]), sep="\t", file=file)
    with open(directory / "scores.tsv", "w") as file:
        for s, t, r in zip(sources, targets, translator.score_batch(sources, targets)):
            print(" ".join(s), " ".join(t), " ".join(f"{x:.9g}" for x in r.log_probs), sep="\t",
                  file=file)
    return [result.hypotheses[0] for result in greedy]


def convert(name, quantization, spm=False):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    files = ["source.spm", "target.spm"] if spm else []
    ctranslate2.converters.TransformersConverter(
        str(HERE / "marian-bias"), copy_files=files).convert(str(directory), quantization=quantization)
    sources = [SOURCE.encode(line, out_type=str) + ["</s>"] for line in SOURCE_LINES[:3]]
    targets = [TARGET.encode(line, out_type=str) for line in TARGET_LINES[:3]]
    hypotheses = write_scores(directory, sources, targets)
    print(name, "lengths", [len(h) for h in hypotheses])


def fill(spec, seed, width, ffn, sizes, bias=True):
    """Random weights for every layer of a specification."""
    rng = np.random.default_rng(seed)
    draw = lambda spread, *shape: (spread * rng.standard_normal(shape)).astype(np.float32)

    def linear(layer, outputs, inputs):
        layer.weight = draw(1.6 / inputs ** 0.5, outputs, inputs)
        if bias:
            layer.bias = draw(0.2, outputs)

    def norm(layer):
        layer.gamma = 1 + draw(0.2, width)
        if hasattr(layer, "beta"):
            layer.beta = draw(0.2, width)

    def attention(layer, rows):
        for part, outputs in zip(layer.linear, rows):
            linear(part, outputs, width)
        norm(layer.layer_norm)

    for side, size in ((spec.encoder, sizes[0]), (spec.decoder, sizes[1])):
        tables = side.embeddings if isinstance(side.embeddings, list) else [side.embeddings]
        for table in tables:
            table.weight = draw(0.3, size, width)
        for name in ("layer_norm", "layernorm_embedding"):
            if hasattr(side, name):
                norm(getattr(side, name))
        for layer in side.layer:
            attention(layer.self_attention, (3 * width, width))
            if hasattr(layer, "attention"):
                attention(layer.attention, (width, 2 * width, width))
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, ffn, width)
            linear(layer.ffn.linear_1, width, ffn)
            if hasattr(layer.ffn, "linear_0_noact"):
                linear(layer.ffn.linear_0_noact, ffn, width)
    linear(spec.decoder.projection, sizes[1], width)
    spec.decoder.projection.weight *= 2


SPECIALS = ["<blank>", "<s>", "</s>"]


def make_spec(name, seed, width, heads, ffn, layers, bias=True, learned=0, quantization=None,
              **options):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    config = {k: options.pop(k) for k in ("add_source_bos", "add_source_eos", "layer_norm_epsilon")
              if k in options}
    spec = transformer_spec.TransformerSpec.from_config(layers, heads, **options)
    source = SPECIALS + pieces_of(SOURCE_SPM)[1:]
    target = SPECIALS + pieces_of(TARGET_SPM)[1:]
    fill(spec, seed, width, ffn, (len(source), len(target)), bias)
    if learned:
        rng = np.random.default_rng(seed + 1)
        for side in (spec.encoder, spec.decoder):
            side.position_encodings.encodings = rng.standard_normal(
                (learned, width)).astype(np.float32)
    for key, value in config.items():
        setattr(spec.config, key, value)
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(directory))
    sources = [SOURCE.encode(line, out_type=str) for line in SOURCE_LINES[:3]]
    targets = [TARGET.encode(line, out_type=str) for line in TARGET_LINES[:3]]
    hypotheses = write_scores(directory, sources, targets)
    print(name, "lengths", [len(h) for h in hypotheses])


def read_variables(path):
    data, at = path.read_bytes(), 0

    def take(kind):
        nonlocal at
        value, = struct.unpack_from("<" + kind, data, at)
        at += struct.calcsize("<" + kind)
        return value

    def take_string():
        nonlocal at
        size = take("H")
        at += size
        return data[at - size:at - 1].decode()

    take("I"), take_string(), take("I")
    variables = {}
    for _ in range(take("I")):
        name = take_string()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        variables[name] = (shape, kind, data[at:at + size])
        at += size
    return variables


def first_name(name):
    """The name that a variable had when names were OpenNMT-tf's."""
    side = name.split("/")[0]
    for new, old in (
            ("embeddings_0/weight", "w_embs"), ("embeddings/weight", "w_embs"),
            ("layer_norm", "LayerNorm"), ("projection", "dense"), ("linear_0", "conv1d"),
            ("linear_", "conv1d_"), ("weight", "kernel")):
        name = name.replace(new, old)
    if side == "encoder":
        name = name.replace("self_attention", "multi_head")
    else:
        name = name.replace("/attention", "/multi_head")
        name = name.replace("self_attention", "masked_multi_head")
    return f"transformer/{name}:0"


def write_old(name, version, spec, revision):
    """The model of ct2-prenorm as an earlier program would have written it."""
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    variables = read_variables(HERE / "ct2-prenorm" / "model.bin")
    string = lambda text: struct.pack("<H", len(text) + 1) + text.encode() + b"\0"
    kept = {}
    for key, (shape, kind, data) in variables.items():
        attribute = not shape
        if attribute and revision < 3:
            continue
        if attribute and revision < 5:
            key = key.split("/")[1]  # both sides had them together
        kept[first_name(key) if revision == 1 else key] = (shape, kind, data)
    if version < 6:
        kept["with_source_eos"] = ([], 1, b"\1")
    body = struct.pack("<I", version)
    if version >= 2:
        body += string(spec) + struct.pack("<I", revision)
    body += struct.pack("<I", len(kept))
    for key, (shape, kind, data) in sorted(kept.items()):
        width = {0: 4, 1: 1, 2: 2, 3: 4}[kind]
        body += string(key) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        if version >= 4:
            body += struct.pack("<BI", kind, len(data))
        else:
            body += struct.pack("<BI", width, len(data) // width)
        body += data
    if version >= 3:
        body += struct.pack("<I", 0)
    (directory / "model.bin").write_bytes(body)
    for side in ("source", "target"):
        tokens = json.loads((HERE / "ct2-prenorm" / f"{side}_vocabulary.json").read_text())
        (directory / f"{side}_vocabulary.txt").write_text("".join(t + "\n" for t in tokens))
    sources = [SOURCE.encode(line, out_type=str) for line in SOURCE_LINES[:2]]
    targets = [TARGET.encode(line, out_type=str) for line in TARGET_LINES[:2]]
    write_scores(directory, sources, targets)
    print(name, "version", version, spec, "revision", revision)


if __name__ == "__main__":
    make_marian("marian-bias", bias=0.7, encoder_layers=2, sharp=3, steady=True,
                first_seed=195)
    make_marian("marian-separate", separate=True, activation_function="relu", first_seed=44)
    make_marian("marian-untied", tie_word_embeddings=False, activation_function="gelu",
                first_seed=15)
    make_marian("marian-odd", d_model=15, encoder_attention_heads=3, decoder_attention_heads=3,
                decoder_layers=3, encoder_ffn_dim=37, decoder_ffn_dim=13,
                activation_function="gelu_new", scale_embedding=False, first_seed=198)
    make_marian("marian-heads", d_model=12, encoder_attention_heads=3, decoder_attention_heads=4,
                first_seed=12)
    make_marian("marian-f16", dtype=torch.float16, bias=0.3, first_seed=8)
    make_marian("marian-bf16", dtype=torch.bfloat16, bias=0.3, first_seed=4)
    make_marian("marian-shards", shard="12KB", decoder_layers=2, first_seed=25)
    convert("ct2-float32", None, spm=True)
    convert("ct2-float16", "float16")
    convert("ct2-int16", "int16")
    convert("ct2-int8", "int8")
    make_spec("ct2-prenorm", 3, 16, 8, 24, (2, 1), add_source_eos=True)
    make_spec("ct2-gated", 4, 12, 3, 20, (1, 2), bias=False, learned=40, ffn_glu=True,
              rms_norm=True, layernorm_embedding=True, add_source_bos=True,
              layer_norm_epsilon=1e-4, activation=common_spec.Activation.GELUTanh)
    make_spec("ct2-postnorm", 5, 12, 2, 20, (1, 1), pre_norm=False, quantization="int8_float16",
              activation=common_spec.Activation.GELUSigmoid)
    write_old("ct2-v1", 1, "", 1)
    write_old("ct2-v3", 3, "TransformerSpec", 4)
    write_old("ct2-v5", 5, "TransformerSpec", 5)
