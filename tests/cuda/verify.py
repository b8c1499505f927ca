#!/usr/bin/env python3
"""Checks that a GPU computes the same as the CPU. This is the only command to run on a machine with a GPU.

    python tests/cuda/verify.py [--device cuda:0]

1. Every operation against f64, every golden network with all its gradients, and the optimizer step, on the GPU:
   `cargo test` with DDPM_TEST_DEVICE set.
2. Trainings from the same seed on the CPU and on the GPU, in f32, tf32 and bf16: how much their losses differ.
3. Two trainings on the GPU, and one that is stopped and resumed: whether their weights are equal, and otherwise how
   much they differ.

Exits with 1 if an error exceeds its bound. Needs the requirements of a build with `cuda` (docs/cuda.md), and no Python
package.
"""

import argparse
import array
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRAIN = ROOT / "target" / "release" / "ddpm-train"
TESTS = [
    "against_composed",
    "device_update",
    "fixed_weights",
    "golden",
    "precision",
    "recompute",
    "unet2d",
    "adam_golden",
]
# Mean relative distance of the losses from those of the CPU in f32. Batches, timesteps and noise are the same, so only
# rounding differs.
BOUNDS = {"f32": 1e-3, "tf32": 1e-2, "bf16": 3e-2}
# Relative distance of the weights of two trainings in bf16. cuDNN chooses algorithms by timing them: two processes may
# choose differently, and then differ by rounding.
MOST_APART = 3e-2


def losses(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def train(out, device, precision, steps, *more):
    command = [TRAIN, "--preset", "digits", "--out", out, "--device", device, "--steps", steps, "-q"]
    sets = [
        f"train.precision={precision}",
        "train.log_every_steps=1",
        "train.learning_rate_schedule=constant",
        "sample.preview_images=0",
        "train.sample_every_steps=0",
    ]
    command += [word for key in (*sets, *more) for word in ("--set", key)]
    subprocess.run([str(part) for part in command], check=True)
    return out


def weights(run, steps):
    """The EMA weights of a checkpoint, read from its file: the length of the header, the header, and f32 values."""
    data = (run / "checkpoints" / f"step-{steps:06}" / "model.safetensors").read_bytes()
    values = array.array("f")
    values.frombytes(data[8 + int.from_bytes(data[:8], "little") :])
    return values


def apart(one, other):
    squares = sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
    return math.sqrt(squares / sum(a * a for a in one))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    good = True

    def say(what, holds, found):
        nonlocal good
        good &= holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}: {found}", flush=True)

    features = [] if args.device == "cpu" else ["--features", "ddpm-ops/cuda"]
    packages = ["-p", "ddpm-ops", "-p", "ddpm-unet", "-p", "ddpm-trainer"]
    tests = [word for test in TESTS for word in ("--test", test)]
    # One test at a time, because a test that waits for the GPU waits for the work of all tests.
    run = subprocess.run(
        ["cargo", "test", "--release", *packages, *features, *tests, "--", "--test-threads", "1"],
        cwd=ROOT,
        env={**os.environ, "DDPM_TEST_DEVICE": args.device},
    )
    say("operations, networks and gradients", run.returncode == 0, f"cargo test ended with {run.returncode}")

    features = [] if args.device == "cpu" else ["--features", "cuda"]
    subprocess.run(["cargo", "build", "--release", "-p", "ddpm-train", *features], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        of_cpu = losses(train(work / "cpu", "cpu", "f32", args.steps))
        for precision, bound in BOUNDS.items():
            own = losses(train(work / precision, args.device, precision, args.steps))
            distance = sum(abs(a - b) / b for a, b in zip(own, of_cpu)) / len(of_cpu)
            same_length = len(own) == len(of_cpu)
            found = f"{distance:.1e} apart, at most {bound:.0e}"
            say(f"losses in {precision}", same_length and distance < bound, found)
        bf16 = weights(work / "bf16", args.steps)
        half = args.steps // 2
        train(work / "again", args.device, "bf16", args.steps)
        train(work / "parts", args.device, "bf16", half)
        train(work / "parts", args.device, "bf16", args.steps)
        for what, run in (("the same training again", "again"), ("the same, stopped and resumed", "parts")):
            distance = apart(bf16, weights(work / run, args.steps))
            found = f"weights {distance:.1e} apart, at most {MOST_APART:.0e}" if distance else "the same bits"
            say(what, distance < MOST_APART, found)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
