#!/usr/bin/env python3
"""Checks that other tools can load a model: onnx.checker on both networks, then golden.npz through ONNX Runtime.

usage: check_onnx.py MODEL_DIR...        needs: pip install onnx onnxruntime numpy
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-4


def run(path, frames):
    """The output of a network for frames [N, T, C], in the same layout."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, made.name) == ("input", "output"), (given.name, made.name)
    (output,) = session.run(None, {"input": np.ascontiguousarray(frames.transpose(0, 2, 1))})
    return output.transpose(0, 2, 1)


def quantise(latents, codebooks):
    """Codes [N, L, T] and the vectors they stand for, the lowest index on ties."""
    residual, codes = latents.astype(np.float64), []
    for codebook in codebooks:
        distance = (codebook**2).sum(-1) - 2 * residual @ codebook.T
        codes.append(distance.argmin(-1))
        residual = residual - codebook[codes[-1]]
    return np.stack(codes, 1), (latents - residual).astype(np.float32)


def check(model):
    golden = np.load(model / "golden.npz")
    books = np.load(model / "codebooks.npz")
    codebooks = [books[f"level_{level}"].astype(np.float64) for level in range(len(books.files))]
    x = golden["x"]
    latents = run(str(model / "encoder.onnx"), x)
    codes, quantised = quantise(latents, codebooks)
    errors = {}
    for key, found in [
        ("z", lambda: latents),
        ("y", lambda: run(str(model / "decoder.onnx"), latents)),
        ("yq", lambda: run(str(model / "decoder.onnx"), quantised)),
    ]:
        if key in golden.files:
            errors[key] = float(np.abs(found() - golden[key]).max())
    mismatches = int((codes != golden["idx"]).sum()) if "idx" in golden.files else 0
    passed = errors and all(error <= TOLERANCE for error in errors.values()) and mismatches == 0
    shown = ", ".join(f"{key} {error:.1e}" for key, error in errors.items())
    print(f"{'ok' if passed else 'FAILED'}  {model}: {len(x)} frames, largest error {shown}; {mismatches} codes differ")
    return passed


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(0 if all([check(pathlib.Path(model)) for model in sys.argv[1:]]) else 1)
