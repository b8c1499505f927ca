"""Weak scaling on one machine: two ranks with one thread each, next to two independent processes.

    MPICC=mpicc.openmpi cargo build -p ddpm-train --features ddpm-train/mpi
    python benches/distributed_scaling.py --mpirun mpirun.openmpi [--rounds 5] [--steps 40]

Each round measures, one after the other: one process alone; two independent processes at the same time, which share
memory bandwidth and caches as two ranks do; two ranks of one job, with as many batches per rank. It prints the medians
of the images per second and rank, their ratios, and the share of the time in which ranks wait for each other.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

COMMON = "--threads 1 --set data.holdout_share=0 --set sample.preview_images=0 --set train.log_every_steps=1".split()


def start(options: argparse.Namespace, out: Path, ranks: int) -> subprocess.Popen:
    launch = [options.mpirun, "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [*launch, str(options.programs / "ddpm-train"), *COMMON, *options.arguments.split()]
    command += ["--steps", str(options.steps), "--set", f"train.gradient_bucket_mb={options.bucket_mb}"]
    command += ["--out", str(out), *(["--scale-batch"] if ranks > 1 else [])]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def speed(out: Path, ranks: int) -> tuple[float, float]:
    """Images per second and rank, and the share of time spent waiting for other ranks: medians of the later steps."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line][len(lines) // 4 :]
    waits = [line.get("communication_wait_share", 0.0) for line in lines]
    return statistics.median(line["images_per_sec"] for line in lines) / ranks, statistics.median(waits)


def measure(options: argparse.Namespace, processes: int, ranks: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as work:
        outs = [Path(work) / f"run-{number}" for number in range(processes)]
        started = [start(options, out, ranks) for out in outs]
        if any([process.wait() for process in started]):
            raise SystemExit("a training failed: run it by hand to see why")
        return speed(outs[0], ranks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--programs", type=Path, default=Path("target/debug"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--bucket-mb", type=float, default=25)
    parser.add_argument("--arguments", default="--preset digits --batch-size 64", help="options of ddpm-train")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        alone, beside, job = measure(options, 1, 1), measure(options, 2, 1), measure(options, 1, 2)
        rounds.append((job[0] / beside[0], job[0] / alone[0], job[1], alone[0]))
    beside, alone, wait, speed_alone = map(statistics.median, zip(*rounds))
    print(f"one process: {speed_alone:.0f} images/s")
    print(f"a rank of two: {beside:.3f} of a process beside another one, {alone:.3f} of a process alone")
    print(f"waiting for the other rank: {wait:.1%} of the time")


if __name__ == "__main__":
    main()
