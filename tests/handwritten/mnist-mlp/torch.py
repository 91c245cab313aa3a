"""The MNIST MLP in plain PyTorch, as an expert writes it: what the harness's step time is held against.

python torch.py DATA ORDER WEIGHTS THREADS STEPS BLOCKS [eager|compile]
"""

import json
import sys
from pathlib import Path
from time import perf_counter

# This file is called torch.py: its own folder must not come before the framework.
sys.path.pop(0)

import numpy as np
import torch
from torch import nn


def main() -> None:
    data, order_file, weights_file, threads, steps, blocks, *rest = sys.argv[1:]
    steps = int(steps)
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)

    x = torch.from_numpy(np.load(Path(data) / "train_x.npy"))
    y = torch.from_numpy(np.load(Path(data) / "train_y.npy")).long()
    order = torch.from_numpy(np.load(order_file)).long().flatten(0, 1)
    weights = np.load(weights_file)

    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    with torch.no_grad():
        for number, layer in enumerate([model[1], model[3], model[5]], 1):
            layer.weight.copy_(torch.from_numpy(weights[f"model/dense{number}/kernel"]).T)
            layer.bias.copy_(torch.from_numpy(weights[f"model/dense{number}/bias"]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    criterion = nn.CrossEntropyLoss()
    forward = torch.compile(model) if rest == ["compile"] else model

    position = 0
    seconds = []
    for block in range(2 + int(blocks)):
        batches = [order[(position + step) % len(order)] for step in range(steps)]
        position += steps
        losses = []
        start = perf_counter()
        for batch in batches:
            optimizer.zero_grad()
            loss = criterion(forward(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        elapsed = perf_counter() - start
        if block >= 2:
            seconds.append(elapsed)
    print(json.dumps({"seconds": seconds, "loss": float(torch.stack(losses).mean())}))


if __name__ == "__main__":
    main()
