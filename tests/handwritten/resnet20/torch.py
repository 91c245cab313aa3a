"""ResNet-20 on 8x8 digits in plain PyTorch, as an expert writes it, to hold the backend against.

python torch.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [eager|compile]
"""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from time import perf_counter

# This file is called torch.py: its own folder must not come before the framework.
sys.path.pop(0)

import numpy as np
import torch
from torch import nn


def conv(channels, filters, size, stride):
    # Of an even image a stride of 2 looks one pixel over the end, and none before the beginning.
    uneven = size > 1 and stride > 1
    layer = nn.Conv2d(channels, filters, size, stride, 0 if uneven else size // 2, bias=False)
    norm = nn.BatchNorm2d(filters)
    return nn.Sequential(*([nn.ZeroPad2d((0, 1, 0, 1))] if uneven else []), layer, norm)


class Block(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.shortcut = conv(channels, filters, 1, stride) if stride > 1 else nn.Identity()
        self.first = conv(channels, filters, 3, stride)
        self.second = conv(filters, filters, 3, 1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(1, 16, 3, 1), nn.ReLU())
        widths = [16] * 4 + [32] * 3 + [64] * 3
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)))
        self.dense = nn.Linear(64, 10)

    def forward(self, x):
        return self.dense(self.blocks(self.stem(x)).mean((2, 3)))


def rate(done):
    if done < 35:
        return 0.05 * (done + 1) / 35
    return 0.05 * 0.5 * (1 + math.cos(math.pi * min((done - 35) / 315, 1)))


def main() -> None:
    data, order_file, weights_file, threads, steps, blocks, *rest = sys.argv[1:]
    steps = int(steps)
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)

    # (N, H, W, C) seen as (N, C, H, W): channels last in memory.
    x = torch.from_numpy(np.load(Path(data) / "train_x.npy")).permute(0, 3, 1, 2)
    y = torch.from_numpy(np.load(Path(data) / "train_y.npy")).long()
    order = torch.from_numpy(np.load(order_file)).long().flatten(0, 1)
    weights = np.load(weights_file)

    model = ResNet20().to(memory_format=torch.channels_last)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for number, (layer, norm) in enumerate(zip(convs, norms, strict=True), 1):
            kernel = torch.from_numpy(weights[f"model/conv2d{number}/kernel"])
            layer.weight.copy_(kernel.permute(3, 2, 0, 1))
            norm.weight.copy_(torch.from_numpy(weights[f"model/batch_norm{number}/scale"]))
            norm.bias.copy_(torch.from_numpy(weights[f"model/batch_norm{number}/shift"]))
        model.dense.weight.copy_(torch.from_numpy(weights["model/dense1/kernel"]).T)
        model.dense.bias.copy_(torch.from_numpy(weights["model/dense1/bias"]))
    kernels = [layer.weight for layer in [*convs, model.dense]]
    others = [model.dense.bias, *(p for norm in norms for p in (norm.weight, norm.bias))]
    groups = [{"params": kernels, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rate(0), momentum=0.9, fused=True)
    criterion = nn.CrossEntropyLoss()
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
            loss = criterion(forward(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            done += 1
        elapsed = perf_counter() - start
        if block >= 2:
            seconds.append(elapsed)
    print(json.dumps({"seconds": seconds, "loss": float(torch.stack(losses).mean())}))


if __name__ == "__main__":
    main()
