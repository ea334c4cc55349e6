#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes training/: what PyTorch and transformers compute when they train, see README.md.

Needs torch, transformers, safetensors and numpy. The second part of this file is the Transformer
that clformer trains, in plain PyTorch by clformer's names and shapes. Where transformers has the
same model, both must agree.
"""

import math
import pathlib
import shutil

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "training"
SMOOTHING = 0.1
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


# ---- the loss ------------------------------------------------------------------------------------


def losses(logits, labels, pad):
    """Of each row of logits (R, V): the smoothed loss and the negative log-likelihood. Padding has
    no probability and no share of the smoothing. An update minimises the sum over all target
    tokens of the batch, the end tokens included, divided by their number."""
    columns = [i for i in range(logits.shape[-1]) if i != pad]
    if pad >= 0:
        labels = labels - (labels > pad).long()
    logits = logits[:, columns]
    return torch.stack([F.cross_entropy(logits, labels, reduction="none", label_smoothing=s)
                        for s in (SMOOTHING, 0.0)], 1)


# ---- the model, by clformer's parameters ---------------------------------------------------------
# A linear layer's matrix is (outputs, inputs). Fused ones stand below one another: queries, keys,
# values ("self.qkv") and keys, values ("cross.kv").

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "swish": F.silu,
               "gelu_new": lambda x: F.gelu(x, approximate="tanh")}
SIDES = ("encoder", "decoder")


class Model:
    """`p`: parameters by name. `c`, pairs being (encoder, decoder):
        width, layers, heads, head_width, ffn (pairs), scale (of attention, a pair), activation,
        vocabulary (a pair), embedding_scale, learned (positions, else sinusoidal), position_offset,
        pre_norm, rms, start, pad"""

    def __init__(self, c, p):
        self.c, self.p = c, p

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p.get(name + ".bias"))

    def norm(self, x, name):
        scale, bias = self.p[name + ".weight"], self.p.get(name + ".bias")
        if not self.c["rms"]:
            return F.layer_norm(x, x.shape[-1:], scale, bias, 1e-5)
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * scale

    def positions(self, side, length):
        first, width = self.c["position_offset"], self.c["width"]
        if self.c["learned"]:
            return self.p[side + ".positions.weight"][first:first + length]
        where = torch.arange(first, first + length, dtype=torch.float64)[:, None]
        sines = (width + 1) // 2
        angles = where * 10000.0 ** (-torch.arange(sines, dtype=torch.float64) / (width / 2))
        return torch.cat([angles.sin(), angles.cos()], 1)[:, :width].float()

    def embed(self, side, ids):
        """The padding token's row has no gradient; a start token of -1 is a row of zeros."""
        table = self.p.get(side + ".embedding.weight", self.p["encoder.embedding.weight"])
        pad = self.c["pad"] if self.c["pad"] >= 0 else None
        x = F.embedding(ids.clamp(min=0), table, padding_idx=pad) * (ids >= 0)[:, None]
        return x * self.c["embedding_scale"] + self.positions(side, len(ids)).to(x.dtype)

    def attention(self, side, q, k, v, causal=False):
        heads, scale = self.c["heads"][side == "decoder"], self.c["scale"][side == "decoder"]
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (q, k, v))
        scores = q @ k.transpose(1, 2) * scale
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)

    def sublayer(self, x, norm, function):
        if self.c["pre_norm"]:
            return x + function(self.norm(x, norm))
        return self.norm(x + function(x), norm)

    def layer(self, side, name, x, memory):
        def attend(x):
            q, k, v = self.linear(x, name + ".self.qkv").chunk(3, -1)
            return self.linear(self.attention(side, q, k, v, side == "decoder"),
                               name + ".self.out")

        def cross(x):
            k, v = self.linear(memory, name + ".cross.kv").chunk(2, -1)
            return self.linear(self.attention(side, self.linear(x, name + ".cross.q"), k, v),
                               name + ".cross.out")

        def feed_forward(x):
            inner = ACTIVATIONS[self.c["activation"]](self.linear(x, name + ".ffn.in"))
            return self.linear(inner, name + ".ffn.out")

        x = self.sublayer(x, name + ".self.norm", attend)
        if side == "decoder":
            x = self.sublayer(x, name + ".cross.norm", cross)
        return self.sublayer(x, name + ".ffn.norm", feed_forward)

    def stack(self, side, ids, memory=None):
        x = self.embed(side, ids)
        for i in range(self.c["layers"][side == "decoder"]):
            x = self.layer(side, f"{side}.layers.{i}", x, memory)
        return self.norm(x, side + ".final_norm") if self.c["pre_norm"] else x

    def losses(self, pairs):
        """Pair by pair, without any padding. The decoder reads the start token and the target
        without its last token."""
        rows = []
        for source, target in pairs:
            memory = self.stack("encoder", torch.tensor(source))
            x = self.stack("decoder", torch.tensor([self.c["start"]] + target[:-1]), memory)
            output = [self.p.get(n) for n in ("decoder.output.weight", "decoder.embedding.weight",
                                              "encoder.embedding.weight")]
            logits = F.linear(x, next(w for w in output if w is not None),
                              self.p.get("decoder.output.bias"))
            rows.append(losses(logits, torch.tensor(target), self.c["pad"]))
        return torch.cat(rows)


def shapes(c, output_bias=False, linear_bias=True, tied=True, shared=True, positions=0):
    """Names and shapes of the parameters."""
    width, result = c["width"], {}

    def add(name, rows, columns, bias):
        result[name + ".weight"] = (rows, columns) if rows else (columns,)
        if bias:
            result[name + ".bias"] = (rows or columns,)

    def add_norm(name):
        add(name, 0, width, not c["rms"])

    for s, side in enumerate(SIDES):
        inner, ffn = c["heads"][s] * c["head_width"][s], c["ffn"][s]
        if s == 0 or not shared:
            add(side + ".embedding", c["vocabulary"][s], width, False)
        if c["learned"]:
            add(side + ".positions", positions, width, False)
        for i in range(c["layers"][s]):
            name = f"{side}.layers.{i}"
            add(name + ".self.qkv", 3 * inner, width, linear_bias)
            add(name + ".self.out", width, inner, linear_bias)
            add_norm(name + ".self.norm")
            if s == 1:
                add(name + ".cross.q", inner, width, linear_bias)
                add(name + ".cross.kv", 2 * inner, width, linear_bias)
                add(name + ".cross.out", width, inner, linear_bias)
                add_norm(name + ".cross.norm")
            add(name + ".ffn.in", ffn, width, linear_bias)
            add(name + ".ffn.out", width, ffn, linear_bias)
            add_norm(name + ".ffn.norm")
        if c["pre_norm"]:
            add_norm(side + ".final_norm")
    if not tied:
        add("decoder.output", c["vocabulary"][1], width, False)
    if output_bias:
        result["decoder.output.bias"] = (c["vocabulary"][1],)
    return result


# ---- transformers' Marian ------------------------------------------------------------------------


def marian_parts(model):
    """clformer's parameters as lists of Marian's, which stand below one another in them. The bias
    of the logits is trained by clformer, though transformers leaves it as it is."""
    parts = {}

    def add(name, *modules):
        parts[name + ".weight"] = [m.weight for m in modules]
        parts[name + ".bias"] = [m.bias for m in modules]

    for side, stack in zip(SIDES, (model.get_encoder(), model.model.decoder)):
        parts[side + ".embedding.weight"] = [stack.embed_tokens.weight]
        for i, layer in enumerate(stack.layers):
            name, own = f"{side}.layers.{i}", layer.self_attn
            add(name + ".self.qkv", own.q_proj, own.k_proj, own.v_proj)
            add(name + ".self.out", own.out_proj)
            add(name + ".self.norm", layer.self_attn_layer_norm)
            if side == "decoder":
                cross = layer.encoder_attn
                add(name + ".cross.q", cross.q_proj)
                add(name + ".cross.kv", cross.k_proj, cross.v_proj)
                add(name + ".cross.out", cross.out_proj)
                add(name + ".cross.norm", layer.encoder_attn_layer_norm)
            add(name + ".ffn.in", layer.fc1)
            add(name + ".ffn.out", layer.fc2)
            add(name + ".ffn.norm", layer.final_layer_norm)
    parts["decoder.output.weight"] = [model.lm_head.weight]
    parts["decoder.output.bias"] = [model.final_logits_bias]
    # What is tied is one parameter, of its first name.
    seen, result = set(), {}
    for name, tensors in parts.items():
        if id(tensors[0]) not in seen:
            seen.add(id(tensors[0]))
            result[name] = tensors
    return result


def padded(sequences, value):
    width = max(map(len, sequences))
    return torch.tensor([s + [value] * (width - len(s)) for s in sequences])


def marian_losses(model, pairs):
    config = model.config
    pad, start = config.pad_token_id, config.decoder_start_token_id
    sources, targets = zip(*pairs)
    labels = padded(targets, -1)
    logits = model(input_ids=padded(sources, pad), attention_mask=padded(sources, -1) >= 0,
                   decoder_input_ids=padded([[start] + t[:-1] for t in targets], pad)).logits
    asked = labels >= 0  # row by row: the targets one after another, without padding
    return losses(logits[asked], labels[asked], pad)


def marian_config(config):
    """The same for the model above."""
    heads = (config.encoder_attention_heads, config.decoder_attention_heads)
    width = tuple(config.d_model // h for h in heads)
    return dict(
        width=config.d_model, layers=(config.encoder_layers, config.decoder_layers), heads=heads,
        head_width=width, scale=tuple(d ** -0.5 for d in width),
        ffn=(config.encoder_ffn_dim, config.decoder_ffn_dim),
        activation=config.activation_function,
        vocabulary=(config.vocab_size, config.decoder_vocab_size),
        embedding_scale=config.d_model ** 0.5 if config.scale_embedding else 1.0, learned=False,
        position_offset=0, pre_norm=False, rms=False, start=config.decoder_start_token_id,
        pad=config.pad_token_id)


# ---- gradients -----------------------------------------------------------------------------------

LENGTHS = ((4, 3), (1, 6), (7, 1), (3, 5), (5, 2), (2, 8))  # of each pair, with the end token 0


def make_pairs(c, seed):
    rng = np.random.default_rng(seed)

    def sequence(size, length):
        ids = [i for i in range(1, size) if i != c["pad"]]
        return rng.choice(ids, length - 1).tolist() + [0]

    return [tuple(map(sequence, c["vocabulary"], lengths)) for lengths in LENGTHS]


def numbers(values):
    return " ".join(map(str, values))


def write_pairs(path, pairs):
    path.write_text("".join(f"{numbers(s)}\t{numbers(t)}\n" for s, t in pairs))


def own_gradients(c, p, pairs):
    for tensor in p.values():
        tensor.requires_grad_(True)
        tensor.grad = None
    rows = Model(c, p).losses(pairs)
    rows[:, 0].sum().backward()
    return rows.detach(), {name: tensor.grad for name, tensor in p.items()}


def largest_difference(a, b):
    return max((a[n] - b[n]).abs().max().item() / b[n].abs().max().item() for n in a)


def write_gradients(name, pairs, rows, gradients, weights={}):
    directory = OUT / name
    directory.mkdir(parents=True)
    write_pairs(directory / "pairs.tsv", pairs)
    tensors = {"losses": rows}
    tensors.update({"gradient." + n: g for n, g in gradients.items()})
    tensors.update({"weight." + n: w.detach() for n, w in weights.items()})
    save_file({n: t.float().contiguous() for n, t in tensors.items()},
              directory / "model.safetensors")


def rounding(c, p, pairs, gradients):
    single = {n: t.detach().float() for n, t in p.items()}
    return largest_difference(own_gradients(c, single, pairs)[1], gradients)


def make_marian(name):
    """The gradients of a model of make_models.py, which are sharp: pairs are drawn until rounding
    is not blown up."""
    model = transformers.MarianMTModel.from_pretrained(HERE / name, dtype=torch.float64).eval()
    model.final_logits_bias = torch.nn.Parameter(model.final_logits_bias)
    parts = marian_parts(model)
    c = marian_config(model.config)
    p = {n: torch.cat([t.detach() for t in ts]).squeeze(0) for n, ts in parts.items()}
    for seed in range(1000):
        pairs = make_pairs(c, seed)
        own_rows, own = own_gradients(c, p, pairs)
        if rounding(c, p, pairs, own) < 1e-5:
            break
    rows = marian_losses(model, pairs)
    rows[:, 0].sum().backward()
    gradients = {n: torch.cat([t.grad for t in ts]).squeeze(0) for n, ts in parts.items()}
    gap = largest_difference(own, gradients)
    assert (own_rows - rows).abs().max() < 1e-12 and gap < 1e-9, (name, gap)
    write_gradients(name, pairs, rows.detach(), gradients)
    print(f"{name} seed {seed}: without transformers the same but {gap:.1g}")


def make_own(name, seed, c, **options):
    rng = np.random.default_rng(seed)
    weights = {}
    for n, shape in shapes(c, **options).items():
        noise = rng.standard_normal(shape)
        if "norm" in n and n.endswith("weight"):
            value = 1 + 0.2 * noise
        elif len(shape) == 1:
            value = 0.1 * noise
        else:
            value = noise / shape[1] ** 0.5
        weights[n] = torch.tensor(value).float()
    pairs = make_pairs(c, seed)
    p = {n: w.double() for n, w in weights.items()}
    rows, gradients = own_gradients(c, p, pairs)
    write_gradients(name, pairs, rows, gradients, weights)
    print(f"{name}: float32 differs by {rounding(c, p, pairs, gradients):.1g}")


# ---- a whole training ----------------------------------------------------------------------------

UPDATES, WARMUP, PEAK, CLIP = 100, 20, 2e-3, 1.5
CURVE = dict(
    d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
    decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128,
    activation_function="swish", scale_embedding=True, max_position_embeddings=32, vocab_size=200,
    decoder_vocab_size=200, share_encoder_decoder_embeddings=True, dropout=0.0,
    attention_dropout=0.0, activation_dropout=0.0, pad_token_id=199, decoder_start_token_id=199,
    eos_token_id=0)


def rate(update):
    """Updates count from 1: linear warm-up, then the inverse square root."""
    return PEAK * min(update / WARMUP, (WARMUP / update) ** 0.5)


class Generator:
    """splitmix64 (Steele, Lea, Flood, OOPSLA 2014), seeded as clformer's first values are: by the
    FNV-1a hash of the parameter's name and a NUL, and by the training's seed."""

    def __init__(self, name, seed):
        state, mask = 0x6c62272e07bb014262b821756295c58d, (1 << 128) - 1
        for byte in name.encode() + b"\0":
            state = (state ^ byte) * ((1 << 88) + 0x13b) & mask
        self.state = (state ^ seed * 0x9e3779b97f4a7c15) & (1 << 64) - 1

    def next(self, count):
        steps = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(self.state) + steps * np.uint64(0x9e3779b97f4a7c15)
        self.state = int(z[-1])
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        return z ^ z >> np.uint64(31)

    def uniform(self, shape, limit):
        share = (self.next(math.prod(shape)) >> np.uint64(40)).astype(np.float32) * 2.0 ** -24
        limit = np.float32(limit)
        return (-limit + np.float32(2) * limit * share).reshape(shape)

    def normal(self, shape, deviation):
        """Box, Muller 1958."""
        pairs = (self.next(2 * math.prod(shape)) >> np.uint64(11)).astype(np.float64)
        radius, turn = (pairs[0::2] + 1) * 2.0 ** -53, pairs[1::2] * 2.0 ** -53
        values = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * turn)
        return (deviation * values).astype(np.float32).reshape(shape)


def first_values(c, seed):
    """Glorot, Bengio 2010 for matrices, each of the fused ones by itself; embeddings normal with
    deviation C^-1/2, the padding row zero; ones for norms, zeros for biases."""
    values = {}
    for name, shape in shapes(c).items():
        generator = Generator(name, seed)
        if "embedding" in name:
            value = generator.normal(shape, c["width"] ** -0.5)
            value[c["pad"]] = 0
        elif len(shape) == 2:
            outputs = shape[0] // (3 if ".qkv" in name else 2 if ".kv" in name else 1)
            value = generator.uniform(shape, (6 / (outputs + shape[1])) ** 0.5)
        else:
            value = np.full(shape, 1 if "norm.weight" in name else 0, np.float32)
        values[name] = torch.tensor(value)
    return values


def make_batches():
    """The target is the source backwards, each word translated; some words are frequent."""
    rng = np.random.default_rng(11)
    words, meaning = np.arange(2, 199), rng.permutation(np.arange(2, 199))
    frequency = 1 / np.arange(1, 198)
    batches = []
    for _ in range(UPDATES):
        batch = []
        for _ in range(12):
            source = rng.choice(words, rng.integers(1, 9), p=frequency / frequency.sum())
            batch.append((source.tolist() + [0], meaning[source[::-1] - 2].tolist() + [0]))
        batches.append(batch)
    return batches


def train(batches, values, dtype):
    config = transformers.MarianConfig(**CURVE)
    model = transformers.MarianMTModel(config).to(dtype).train()
    with torch.no_grad():
        for name, parts in marian_parts(model).items():
            if name == "decoder.output.bias":
                continue  # zero and not trained
            for part, value in zip(parts, values[name].chunk(len(parts))):
                part.copy_(value)
    # Computed positions are no parameters.
    parameters = [p for parts in marian_parts(model).values() for p in parts if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.98), eps=1e-9)
    history = []
    for update, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        loss = marian_losses(model, batch)[:, 0].mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.param_groups[0]["lr"] = rate(update)
        optimizer.step()
        history.append((rate(update), norm.item(), loss.item()))
    return history


def make_curve():
    batches = make_batches()
    values = first_values(marian_config(transformers.MarianConfig(**CURVE)), 1)
    single, double = (train(batches, values, t) for t in (torch.float32, torch.float64))
    with open(OUT / "curve.tsv", "w") as file:
        for row in single:
            print(*(f"{x:.9g}" for x in row), sep="\t", file=file)
    with open(OUT / "curve-pairs.tsv", "w") as file:
        for update, batch in enumerate(batches, 1):
            for source, target in batch:
                print(update, numbers(source), numbers(target), sep="\t", file=file)
    gaps = [max(abs(s[i] / d[i] - 1) for s, d in zip(single, double)) for i in (1, 2)]
    clipped = sum(row[1] > CLIP for row in single)
    print(f"curve: loss {single[0][2]:.4f} to {single[-1][2]:.4f}, {clipped} updates clipped; "
          f"losses in float64 differ by {gaps[1]:.1g}, norms by {gaps[0]:.1g}")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    for name in ("marian-bias", "marian-separate", "marian-untied", "marian-odd", "marian-heads"):
        make_marian(name)
    common = dict(position_offset=0, learned=False, rms=False, pre_norm=False)
    make_own("prenorm", 21, common | dict(
        width=20, layers=(2, 1), heads=(4, 2), head_width=(5, 10), scale=(0.45, 0.3), ffn=(24, 37),
        activation="relu", vocabulary=(33, 33), embedding_scale=20 ** 0.5, pre_norm=True, start=5,
        pad=5))
    make_own("learned", 22, common | dict(
        width=16, layers=(1, 2), heads=(2, 2), head_width=(8, 8), scale=(0.35, 0.35), ffn=(32, 32),
        activation="gelu", vocabulary=(31, 29), embedding_scale=1.0, learned=True,
        position_offset=2, start=28, pad=28),
        output_bias=True, tied=False, shared=False, positions=18)
    make_own("rms", 23, common | dict(
        width=18, layers=(1, 1), heads=(3, 2), head_width=(4, 8), scale=(0.5, 0.4), ffn=(20, 20),
        activation="swish", vocabulary=(30, 30), embedding_scale=4.0, rms=True, pre_norm=True,
        start=-1, pad=-1), linear_bias=False, tied=False)
    make_curve()
