#!/usr/bin/env python3
"""Writes src/train/testdata/reference_step.npz: one training step of a small model in PyTorch, float64.

    pip install torch numpy && python3 benches/peers/reference_step.py
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch_model import Trainer, keras_tensors

FRAME, CHANNELS, BATCH = 64, 2, 3

torch.manual_seed(11)
torch.set_default_dtype(torch.float64)
trainer = Trainer(base=8, stages=3, channels=CHANNELS, dim=4, vectors=16, levels=2, cutoff=10 / 360, decay=0.9)
# Weights are what float32 holds, so that both sides start from the same numbers. No norm is the identity, and
# codebooks have the size of latents, so that codes differ.
networks = {"enc": trainer.encoder, "dec": trainer.decoder}
for network in networks.values():
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.float().double()
trainer.books = [torch.randn(16, 4).mul(scale).float().double() for scale in (0.5, 0.25)]
trainer.start()

time = torch.arange(FRAME)
phase = torch.arange(BATCH * CHANNELS).reshape(BATCH, CHANNELS, 1)
targets = (torch.sin(0.2 * time * (1 + phase)) + 0.5 * torch.cos(0.9 * time + phase)).float().double()
inputs = (targets + 0.1 * torch.randn_like(targets)).float().double()

arrays = {"inputs": inputs.transpose(1, 2), "targets": targets.transpose(1, 2)}
for name, network in networks.items():
    for index, (tensor, keras) in enumerate(keras_tensors(network)):
        arrays[f"{name}_{index}"] = keras(tensor).clone()
for level, book in enumerate(trainer.books):
    arrays[f"cb_{level}"] = book.clone()

# PyTorch moves the moving variance towards the unbiased variance of the batch, the family towards the biased one.
def keep_moved(module, inputs, _):
    biased = inputs[0].var(dim=(0, 2), unbiased=False)
    module.moved_var = 0.99 * variances[module] + 0.01 * biased.detach()


norms = [m for network in networks.values() for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
variances = {module: module.running_var.clone() for module in norms}
for module in norms:
    module.register_forward_hook(keep_moved)
arrays["losses"] = torch.stack(trainer.step(inputs, targets))
for module in norms:
    module.running_var.copy_(module.moved_var)
for name, network in networks.items():
    for index, (tensor, keras) in enumerate(keras_tensors(network)):
        arrays[f"{name}_{index}_after"] = keras(tensor)
        if tensor.grad is not None:
            arrays[f"{name}_{index}_gradient"] = keras(tensor.grad)
for level, book in enumerate(trainer.books):
    arrays[f"cb_{level}_after"] = book

folder = Path(__file__).parents[2] / "src/train/testdata"
folder.mkdir(exist_ok=True)
single = {name: np.ascontiguousarray(array.detach().numpy(), np.float32) for name, array in arrays.items()}
np.savez(folder / "reference_step.npz", **single)
for name in ("losses", "enc_0_gradient"):
    print(name, single[name].reshape(-1)[:6])
