"""An LSTM language model of characters in plain PyTorch, as an expert writes it, to hold the backend against.

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
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(33, 32)
        self.lstm = nn.LSTM(32, 128)
        self.dense = nn.Linear(128, 33)
        # One bias learns; torch's second one stays zero.
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)

    def forward(self, tokens, targets):
        # Time comes first, as the fused LSTM reads and writes: only the tokens are transposed.
        hidden, _ = self.lstm(self.embedding(tokens.T))
        return cross_entropy(self.dense(hidden).flatten(0, 1), targets.T.flatten())


def main() -> None:
    data, order_file, weights_file, threads, steps, blocks, *rest = sys.argv[1:]
    steps = int(steps)
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)

    x = torch.from_numpy(np.load(Path(data) / "train_x.npy")).long()
    y = torch.from_numpy(np.load(Path(data) / "train_y.npy")).long()
    order = torch.from_numpy(np.load(order_file)).long().flatten(0, 1)
    weights = {name: torch.from_numpy(array) for name, array in np.load(weights_file).items()}

    model = LanguageModel()
    with torch.no_grad():
        model.embedding.weight.copy_(weights["model/embedding1/table"])
        model.lstm.weight_ih_l0.copy_(weights["model/lstm1/kernel"].T)
        model.lstm.weight_hh_l0.copy_(weights["model/lstm1/recurrent_kernel"].T)
        model.lstm.bias_ih_l0.copy_(weights["model/lstm1/bias"])
        model.dense.weight.copy_(weights["model/dense1/kernel"].T)
        model.dense.bias.copy_(weights["model/dense1/bias"])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=4e-3, fused=True)
    forward = model
    if rest == ["compile"]:
        # torch.compile takes no nn.LSTM: it compiles what comes before and after.
        model.lstm.forward = torch.compiler.disable(model.lstm.forward)
        forward = torch.compile(model)

    position = 0
    seconds = []
    for block in range(2 + int(blocks)):
        batches = [order[(position + step) % len(order)] for step in range(steps)]
        position += steps
        losses = []
        start = perf_counter()
        for batch in batches:
            optimizer.zero_grad()
            loss = forward(x[batch], y[batch])
            loss.backward()
            clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.detach())
        elapsed = perf_counter() - start
        if block >= 2:
            seconds.append(elapsed)
    print(json.dumps({"seconds": seconds, "loss": float(torch.stack(losses).mean())}))


if __name__ == "__main__":
    main()
