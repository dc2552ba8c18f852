#!/usr/bin/env python3
"""Times one training step on one thread, PyTorch and Rivulet by turns: base 48, 4 stages, 64 x 512 samples.

    pip install torch numpy && python3 benches/peers/train_step.py [ROUNDS]

Each round takes the fastest of 20 steps of each, the least disturbed by other work.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch_model import Trainer

STEPS = 20


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    torch.manual_seed(1)
    trainer = Trainer(base=48, stages=4, channels=1, dim=16, vectors=256, levels=2)
    trainer.start()
    position = torch.arange(64 * 512, dtype=torch.float32)
    batch = (torch.sin(0.05 * position) + torch.cos(0.31 * position)).reshape(64, 1, 512)
    root = Path(__file__).parents[2]
    command = ["cargo", "bench", "--quiet", "--bench", "train_step", "--", "--steps", str(STEPS), "1"]
    subprocess.run([*command[:5], "--no-run"], cwd=root, check=True)

    def torch_step():
        start = time.perf_counter()
        trainer.step(batch, batch)
        return 1e3 * (time.perf_counter() - start)

    theirs, ours = [], []
    for index in range(rounds):
        theirs.append(min(torch_step() for _ in range(STEPS)))
        output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        ours.append(float(re.search(r"threads 1 ms ([0-9.]+)", output)[1]))
        print(f"round {index + 1}: torch {theirs[-1]:.1f} ms, rivulet {ours[-1]:.1f} ms, ratio {ours[-1] / theirs[-1]:.3f}")
    print(f"fastest: torch {min(theirs):.1f} ms, rivulet {min(ours):.1f} ms, ratio {min(ours) / min(theirs):.3f}")


main()
