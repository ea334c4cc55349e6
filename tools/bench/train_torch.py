# SPDX-License-Identifier: MIT
"""PyTorch's side of train.py: trains on its files and writes a line of JSON per update."""

import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """A post-norm layer, of the decoder if it has a memory to look at."""

    def __init__(self, case: dict, recipe: dict, cross: bool):
        super().__init__()
        width, ffn = case["width"], case["ffn"]
        self.heads = case["heads"]
        self.attention_dropout = recipe["attention_dropout"]
        self.activate = {"relu": functional.relu, "swish": functional.silu}[case["activation"]]
        self.dropout = nn.Dropout(recipe["dropout"])
        self.activation_dropout = nn.Dropout(recipe["activation_dropout"])
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.self_norm = nn.LayerNorm(width)
        if cross:
            self.cross_q = nn.Linear(width, width)
            self.cross_kv = nn.Linear(width, 2 * width)
            self.cross_out = nn.Linear(width, width)
            self.cross_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, ffn)
        self.ffn_out = nn.Linear(ffn, width)
        self.ffn_norm = nn.LayerNorm(width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        dropout = self.attention_dropout if self.training else 0.0
        heads = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout,
                                                        is_causal=causal)
        return heads.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        heads = self.attend(*self.self_qkv(x).chunk(3, -1), causal=memory is not None)
        x = self.self_norm(x + self.dropout(self.self_out(heads)))
        if memory is not None:
            heads = self.attend(self.cross_q(x), *self.cross_kv(memory).chunk(2, -1), causal=False)
            x = self.cross_norm(x + self.dropout(self.cross_out(heads)))
        inner = self.activation_dropout(self.activate(self.ffn_in(x)))
        return self.ffn_norm(x + self.dropout(self.ffn_out(inner)))


class Transformer(nn.Module):
    """One embedding matrix for source, target and output; sinusoidal positions; no masks, since
    all sequences are of one length."""

    def __init__(self, case: dict, recipe: dict):
        super().__init__()
        width = case["width"]
        self.scale = math.sqrt(width)
        self.embedding = nn.Embedding(case["vocabulary"], width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))
        angles = torch.arange(case["length"])[:, None] * rates
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], -1))
        self.dropout = nn.Dropout(recipe["dropout"])
        self.encoder, self.decoder = (
            nn.ModuleList(Layer(case, recipe, cross) for _ in range(case["layers"]))
            for cross in (False, True))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens) * self.scale + self.positions)

    def forward(self, source: Tensor, inputs: Tensor) -> Tensor:
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory)
        x = self.embed(inputs)
        for layer in self.decoder:
            x = layer(x, memory)
        return functional.linear(x, self.embedding.weight)


def read_side(path: pathlib.Path, ids: dict[str, int]) -> Tensor:
    lines = path.read_text().splitlines()
    return torch.tensor([[ids[word] for word in line.split()] + [ids["</s>"]] for line in lines])


def read_batches(settings: dict) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Sources, decoder inputs and targets of one update after another."""
    directory = pathlib.Path(settings["inputs"])
    ids = json.loads((directory / "vocab.json").read_text())
    source, target = (read_side(directory / side, ids) for side in ("source", "target"))
    inputs = functional.pad(target[:, :-1], (1, 0), value=ids["<pad>"])
    pairs = settings["case"]["pairs"]
    batches = zip(source.split(pairs), inputs.split(pairs), target.split(pairs), strict=True)
    for _, batch in zip(range(settings["updates"]), batches):
        yield batch


def train(settings: dict) -> None:
    case, recipe = settings["case"], settings["recipe"]
    device = settings["device"]
    model = Transformer(case, recipe).train().to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe["learning_rate"], betas=(recipe["beta1"], recipe["beta2"]),
        eps=recipe["adam_epsilon"], weight_decay=0, fused=True)

    def loss_of(source: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=settings["bf16"]):
            logits = model(source, inputs)
            return functional.cross_entropy(logits.flatten(0, 1), target.flatten(),
                                            label_smoothing=recipe["label_smoothing"])

    if settings["compile"]:
        loss_of = torch.compile(loss_of, dynamic=False)
    batches = list(read_batches(settings))
    tokens = 0
    start = time.perf_counter()
    for update, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        loss = loss_of(*(side.to(device) for side in batch))
        loss.backward()
        optimizer.step()
        tokens += case["pairs"] * case["length"]
        print(json.dumps({"event": "train", "update": update, "loss": loss.item(),
                          "seconds": time.perf_counter() - start, "source_tokens": tokens,
                          "target_tokens": tokens}), flush=True)


if __name__ == "__main__":
    SETTINGS = json.loads(sys.argv[1])
    torch.set_num_threads(SETTINGS["threads"])
    torch.manual_seed(1)
    train(SETTINGS)
