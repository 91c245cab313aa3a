"""PyTorch: `torch.nn` modules, autograd and `torch.optim`, eager or through `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from harness.spec.program import Program, Update
from harness.worker.protocol import Built, Decoder, Setting, Tensors

from . import attention, recurrent, sequences  # noqa: F401 (they register their lowerings)
from .decoder import TorchDecoder
from .graph import Graph
from .modules import Modules
from .optimizers import clip, grouped, optimizer_of

VARIABLES = ("TORCH", "PYTORCH_", "ATEN_")


def build(program: Program, setting: Setting) -> Built:
    """A program in eager mode, or with its forward and backward passes compiled."""
    torch.set_num_threads(setting.threads)
    # Every contender computes in full float32; TF32 would be a different computation.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return TorchProgram(program, setting)


def settings() -> dict[str, Any]:
    """What is in force."""
    full = torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
    return {"threads": torch.get_num_threads(), "float32_matmul": "float32" if full else "tf32"}


class TorchProgram(Built):
    """Modules on one device, a fused optimizer for each update."""

    def __init__(self, program: Program, setting: Setting) -> None:
        self.program = program
        self.device = torch.device(setting.device)
        self.dtype = getattr(torch, setting.precision)
        graphs = {name: Graph(model, setting.batch_size) for name, model in program.models.items()}
        self.modules = Modules(graphs).to(self.device, self.dtype).to(memory_format=torch.channels_last)
        for graph in graphs.values():
            graph.share()
        self.slots = {
            f"{name}/{tensor}": slot
            for name, graph in graphs.items()
            for tensor, slot in graph.slots().items()
        }
        self.compiled = setting.mode == "compile"
        compiled: Callable[..., Any] = torch.compile if self.compiled else lambda function: function
        self.losses = [compiled(self.modules.loss_function(program, update)) for update in program.updates]
        self.predict = compiled(self.modules.predict_function(program))
        self.optimizers = self._optimizers()

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copy the tensors in place: a compiled program keeps its addresses."""
        for name, slot in self.slots.items():
            slot.write(tensors[name])
        self.optimizers = self._optimizers()

    def tensors(self) -> Tensors:
        """Every parameter and buffer in the spec's layout."""
        return {name: slot.read(slot.tensor) for name, slot in self.slots.items()}

    def place(self, arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Whole arrays on the device; integer labels as int64, which torch's losses ask for."""
        return {
            name: torch.tensor(
                np.asarray(array),
                device=self.device,
                dtype=self.dtype if array.dtype.kind == "f" else torch.int64,
            )
            for name, array in arrays.items()
        }

    def stage(self, placed: dict[str, torch.Tensor], order: np.ndarray) -> Any:
        """The indices of each batch on the device."""
        return placed, list(torch.tensor(order, device=self.device, dtype=torch.int64))

    def train(self, staged: Any) -> list[torch.Tensor]:
        """The loop that the documentation teaches: zero, loss, backward, step."""
        arrays, order = staged
        losses = []
        for indices in order:
            batch = {name: array[indices] for name, array in arrays.items()}
            for loss_function, optimizer in zip(self.losses, self.optimizers, strict=True):
                optimizer.zero_grad()
                loss = loss_function(batch)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return losses

    def mean_loss(self, handle: list[torch.Tensor]) -> float:
        """Mean over steps of the sum over updates."""
        return float(torch.stack(handle).mean()) * len(self.losses)

    def evaluate(self, staged: Any) -> Tensors:
        """Batch by batch in inference mode."""
        arrays, order = staged
        self.modules.eval()
        with torch.inference_mode():
            batches = [
                self.predict({name: array[indices] for name, array in arrays.items()}) for indices in order
            ]
            outputs = [torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)]
        self.modules.train()
        return dict(zip(self.program.outputs, outputs, strict=True))

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        """By the same (compiled) loss function as `train`."""
        arrays, (indices,) = staged
        self.optimizers[update].zero_grad()
        loss = self.losses[update]({name: array[indices] for name, array in arrays.items()})
        loss.backward()
        slots = {name: self.slots[name] for name in self.program.moved(self.program.updates[update])}
        return float(loss.detach()), {name: slot.read(slot.tensor.grad) for name, slot in slots.items()}

    def decoder(self, batch_size: int) -> Decoder:
        """With a cache of the parameters' kind; it generates by the parameters themselves."""
        return TorchDecoder(self.modules, self.program, batch_size, self.compiled)

    def wait(self) -> None:
        """The CPU works at once; a GPU is waited for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def device_peak_bytes(self) -> int | None:
        """The caching allocator's high-water mark of tensors in use."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self._optimizer(update) for update in self.program.updates]

    def _optimizer(self, update: Update) -> torch.optim.Optimizer:
        parameters = self.program.parameters()
        moved = [(self.slots[name].tensor, parameters[name]) for name in self.program.moved(update)]
        optimizer = optimizer_of(update.optimizer, grouped(update.optimizer, moved))
        if update.clip_norm is not None:
            clip(optimizer, update.clip_norm)
        return optimizer
