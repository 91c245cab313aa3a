"""A GPT of two layers over characters in plain PyTorch, as an expert writes it, to hold the backend against.

python torch.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [eager|compile]
"""

import json
import math
import sys
from pathlib import Path
from time import perf_counter

# This file is called torch.py: its own folder must not come before the framework.
sys.path.pop(0)

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention
from torch.nn.utils import clip_grad_norm_

TOKENS, TIME, WIDTH, HEADS, LAYERS = 33, 64, 64, 4, 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.join = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.gelu = nn.GELU("tanh")
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        parts = self.project(self.norm1(x)).view(*x.shape[:2], 3, HEADS, -1)
        query, key, value = parts.transpose(1, 3).unbind(2)
        heads = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.join(heads.transpose(1, 2).flatten(2))
        return x + self.narrow(self.gelu(self.widen(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Parameter(torch.empty(TIME, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens, targets):
        hidden = self.norm(self.blocks(self.embedding(tokens) + self.positions))
        logits = linear(hidden, self.embedding.weight)
        return cross_entropy(logits.flatten(0, 1), targets.flatten())


def load(model, weights):
    def dense(layer, name, *parts):
        names = [f"model/{name}/{part}" for part in parts or [""]]
        layer.weight.copy_(torch.cat([weights[f"{name}kernel"] for name in names], 1).T)
        layer.bias.copy_(torch.cat([weights[f"{name}bias"] for name in names]))

    def norm(layer, number):
        layer.weight.copy_(weights[f"model/layer_norm{number}/scale"])
        layer.bias.copy_(weights[f"model/layer_norm{number}/shift"])

    model.embedding.weight.copy_(weights["model/embedding1/table"])
    model.positions.copy_(weights["model/positions1/table"])
    for number, block in enumerate(model.blocks):
        norm(block.norm1, 2 * number + 1)
        dense(block.project, f"multi_head_attention{number + 1}", "query_", "key_", "value_")
        dense(block.join, f"multi_head_attention{number + 1}", "output_")
        norm(block.norm2, 2 * number + 2)
        dense(block.widen, f"dense{2 * number + 1}")
        dense(block.narrow, f"dense{2 * number + 2}")
    norm(model.norm, 2 * LAYERS + 1)


def rate(done):
    if done < 60:
        return 3e-3 * (done + 1) / 60
    return 3e-4 + (3e-3 - 3e-4) * 0.5 * (1 + math.cos(math.pi * min((done - 60) / 572, 1)))


def main() -> None:
    data, order_file, weights_file, threads, steps, blocks, *rest = sys.argv[1:]
    steps = int(steps)
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)

    x = torch.from_numpy(np.load(Path(data) / "train_x.npy")).long()
    y = torch.from_numpy(np.load(Path(data) / "train_y.npy")).long()
    order = torch.from_numpy(np.load(order_file)).long().flatten(0, 1)

    model = GPT()
    with torch.no_grad():
        load(model, {name: torch.from_numpy(array) for name, array in np.load(weights_file).items()})
    parameters = list(model.parameters())
    # Kernels and tables decay, biases and scales do not.
    groups = [
        {"params": [p for p in parameters if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate(0), betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model) if rest == ["compile"] else model

    done = 0
    seconds = []
    for block in range(2 + int(blocks)):
        batches = [order[(done + step) % len(order)] for step in range(steps)]
        losses = []
        start = perf_counter()
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = rate(done)
            optimizer.zero_grad()
            loss = forward(x[batch], y[batch])
            loss.backward()
            clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.detach())
            done += 1
        elapsed = perf_counter() - start
        if block >= 2:
            seconds.append(elapsed)
    print(json.dumps({"seconds": seconds, "loss": float(torch.stack(losses).mean())}))


if __name__ == "__main__":
    main()
