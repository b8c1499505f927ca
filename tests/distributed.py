"""Jobs of several processes: what docs/distributed.md promises about their weights and their ends.

    MPICC=mpicc.openmpi cargo build -p ddpm-train -p ddpm-sample --features ddpm-train/mpi,ddpm-sample/mpi
    python tests/distributed.py --mpirun mpirun.openmpi [--short] [--programs target/debug]

Every part prints one line with what was tried, and the script ends with an error on the first broken promise. `--short`
injects failures into the first and the last rank only. Needs Python 3.10 and Linux.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = (
    "--threads 1 --batch-size 4 --set train.gradient_accumulation_steps=4 --set train.gradient_bucket_mb=0.02 "
    "--set sample.preview_images=8 --set sample.preview_steps=3 --set model.dropout=0.1 --set data.cache=false"
).split()
NETWORKS = {
    "noise-net": ["--preset", "digits", "--set", "model.base_channels=8", "--set", "model.attention_heads=1"]
    + ["--set", "model.attention_head_channels=8"],
    "unet2d": ["--preset", "ddpm-cifar10", "--data", "digits", "--image-size", "8", "--set", "model.in_channels=1"]
    + ["--set", "model.out_channels=1", "--set", "model.block_out_channels=[8,16]", "--set", "model.norm_num_groups=4"]
    + ["--set", 'model.down_block_types=["DownBlock2D","AttnDownBlock2D"]']
    + ["--set", 'model.up_block_types=["AttnUpBlock2D","UpBlock2D"]', "--set", "model.attention_head_dim=8"]
    + ["--set", "model.layers_per_block=1"],
}
FILES = ["model.safetensors", "training.safetensors", "state.json"]
RANK_VARIABLES = [b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK="]
# Seconds within which a rank must answer, and within which a job with a failed rank must end.
RANK_TIMEOUT, DEADLINE = 15, 120


class Broken(Exception):
    """A promise that does not hold."""


class Job:
    """A program on `ranks` processes, with its standard error in a file."""

    def __init__(
        self, options: argparse.Namespace, ranks: int, out: Path, *arguments: str, name: str = "ddpm-train"
    ) -> None:
        launch = [options.mpirun, "-n", str(ranks)] if ranks > 1 else []
        if ranks > 1 and options.is_open_mpi:
            launch += ["--oversubscribe"]
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        self.out, self.ranks, self.log = out, ranks, out.with_suffix(".log")
        program = str(options.programs / name)
        timeout = ["--rank-timeout", str(RANK_TIMEOUT)]
        with self.log.open("wb") as log:
            command = [*launch, program, *timeout, *arguments, "--out", str(out)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def wait(self, seconds: float = 300) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Broken(f"{self.out.name}: not ended after {seconds} s\n{self.text()}") from None

    def succeed(self) -> "Job":
        if code := self.wait():
            raise Broken(f"{self.out.name}: exit code {code}\n{self.text()}")
        return self

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self) -> dict[int, int]:
        """The process of each rank."""
        found = {}
        for directory in Path("/proc").iterdir():
            if not directory.name.isdecimal():
                continue
            try:
                command = (directory / "cmdline").read_bytes().split(b"\0")
                if not command[0].endswith(b"ddpm-train") or str(self.out).encode() not in command:
                    continue
                environment = (directory / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for prefix in RANK_VARIABLES:
                rank = [entry.removeprefix(prefix) for entry in environment if entry.startswith(prefix)]
                if rank:
                    found[int(rank[0])] = int(directory.name)
                    break
        return found

    def wait_for_step(self, step: int) -> None:
        start = time.monotonic()
        while self.step() < step:
            if self.process.poll() is not None:
                raise Broken(f"{self.out.name}: ended before step {step}\n{self.text()}")
            if time.monotonic() - start > 120:
                self.kill()
                raise Broken(f"{self.out.name}: step {step} not reached in 120 s\n{self.text()}")
            time.sleep(0.02)

    def step(self) -> int:
        try:
            lines = (self.out / "metrics.jsonl").read_text().splitlines()
            return json.loads(lines[-1])["step"] if lines else 0
        except (OSError, ValueError):
            return 0

    def kill(self) -> None:
        for process in self.processes().values():
            os.kill(process, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def checkpoint(self, step: int) -> list[str]:
        directory = self.out / "checkpoints" / f"step-{step:06}"
        return [hashlib.sha256((directory / file).read_bytes()).hexdigest() for file in FILES]


def same_weights(options: argparse.Namespace, work: Path) -> str:
    """One, two and four ranks write the same checkpoints and previews."""
    for kind, network in NETWORKS.items():
        expected = None
        for ranks in (1, 2, 4):
            job = Job(options, ranks, work / f"{kind}-{ranks}", *network, *SMALL, "--steps", "10").succeed()
            preview = hashlib.sha256((job.out / "samples" / "step-000010.png").read_bytes()).hexdigest()
            found = [*job.checkpoint(10), preview]
            expected = expected or found
            if found != expected:
                raise Broken(f"{kind}: {ranks} ranks have another checkpoint or preview than one process")
    return "1, 2 and 4 ranks: equal bytes after 10 steps, noise-net and unet2d with dropout"


def same_samples(options: argparse.Namespace, work: Path) -> str:
    """Ranks sample the images of one process."""
    model = Job(options, 1, work / "model", *NETWORKS["noise-net"], *SMALL, "--steps", "5").succeed().out
    arguments = [str(model), "-n", "18", "--batch-size", "4", "--steps", "3", "--threads", "1", "--class", "all"]
    expected = None
    for ranks in (1, 2, 3):
        job = Job(options, ranks, work / f"samples-{ranks}", *arguments, name="ddpm-sample").succeed()
        files = [*sorted((job.out / "images").glob("*.png")), job.out / "grid.png", job.out / "denoising.png"]
        found = {file.name: pixels(file) for file in files}
        expected = expected or found
        if len(found) != 20 or found != expected:
            raise Broken(f"{ranks} ranks sample other images than one process")
    return "18 images in batches of 4 on 1, 2 and 3 ranks: equal pixels"


def pixels(png: Path) -> bytes:
    """The compressed pixels of a PNG file, without its text chunks, which hold the command line."""
    data, position, parts = png.read_bytes(), 8, []
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] in (b"IHDR", b"IDAT"):
            parts.append(data[position + 8 : position + 8 + length])
        position += 12 + length
    return b"".join(parts)


def overlap(options: argparse.Namespace, work: Path) -> str:
    """The first bucket of gradients is sent while the backward pass goes on."""
    os.environ["RUST_LOG"] = "ddpm_distributed=debug,ddpm_trainer=trace"
    job = Job(options, 2, work / "trace", *NETWORKS["noise-net"], *SMALL, "--steps", "1").succeed()
    del os.environ["RUST_LOG"]
    text = job.text()
    sent, complete, ended = (text.find(what) for what in ("sending bucket=0", "complete bucket=0", "pass of the step"))
    buckets = text.count("sending bucket=") // 2
    if min(sent, complete, ended) < 0 or sent > ended or buckets < 3:
        raise Broken(f"the first bucket was not sent before the end of the backward pass\n{text}")
    early = "complete" if complete < ended else "sent"
    return f"the first of {buckets} buckets is {early} before a backward pass ends"


def resumed_elsewhere(options: argparse.Namespace, work: Path) -> str:
    """A job that is stopped by SIGUSR1 continues on another number of ranks."""
    arguments = [*NETWORKS["noise-net"], *SMALL, "--steps", "120"]
    whole = Job(options, 1, work / "whole", *arguments).succeed()
    job = Job(options, 2, work / "stopped", *arguments)
    job.wait_for_step(5)
    os.kill(job.processes()[1], signal.SIGUSR1)
    job.wait()
    stopped_at = json.loads((sorted((job.out / "checkpoints").glob("step-*"))[-1] / "state.json").read_text())["step"]
    if not 5 <= stopped_at < 120:
        raise Broken(f"SIGUSR1 stopped the job after step {stopped_at}\n{job.text()}")
    job = Job(options, 1, job.out, *arguments).succeed()
    if job.checkpoint(120) != whole.checkpoint(120):
        raise Broken("a job that was stopped at 2 ranks and continued at 1 has other bytes")
    return f"SIGUSR1 to rank 1 of 2 after step {stopped_at}, continued by one process: equal bytes"


def scaled_batches(options: argparse.Namespace, work: Path) -> str:
    """--scale-batch multiplies the batches of a step once, also if it is given again when the run is continued."""
    run = work / "scaled"
    common = ["--threads", "1", "--set", "sample.preview_images=0", "--scale-batch"]
    Job(options, 2, run, *NETWORKS["noise-net"], "--batch-size", "4", *common, "--steps", "3").succeed()
    # Without a preset, the configuration of the run is the one that options change.
    Job(options, 2, run, *common, "--steps", "6").succeed()
    document = (run / "config.toml").read_text()
    if "gradient_accumulation_steps = 2\n" not in document:
        raise Broken(f"--scale-batch at 2 ranks: expected 2 batches per step, found\n{document}")
    return "--scale-batch at 2 ranks: 2 batches per step, also after the run is continued"


def failing_ranks(options: argparse.Namespace, work: Path) -> str:
    """A rank that dies or stops ends the job: non-zero, in time, with no process and a valid checkpoint left."""
    ranks, tried = 3, 0
    arguments = [*NETWORKS["noise-net"], *SMALL, "--set", "train.checkpoint_every_steps=3"]
    arguments += ["--set", "train.gradient_accumulation_steps=3", "--set", "train.sample_every_steps=0"]
    for rank in [0, ranks - 1] if options.short else range(ranks):
        for failure in (signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT):
            job = Job(options, ranks, work / f"failing-{rank}-{failure.name}", *arguments, "--steps", "100000")
            job.wait_for_step(5)
            processes = job.processes()
            os.kill(processes[rank], failure)
            start = time.monotonic()
            code = job.wait(DEADLINE)
            took = time.monotonic() - start
            name = f"{failure.name} to rank {rank}"
            if code == 0:
                raise Broken(f"{name}: exit code 0\n{job.text()}")
            if failure == signal.SIGSTOP and f"rank {rank} on " not in job.text():
                raise Broken(f"{name}: no line names the rank\n{job.text()}")
            time.sleep(0.5)
            if left := job.processes():
                job.kill()
                raise Broken(f"{name}: {len(left)} processes left after {took:.1f} s")
            job = Job(options, 1, job.out, *arguments, "--steps", str(job.step() + 2)).succeed()
            if "damaged" in job.text():
                raise Broken(f"{name}: a damaged checkpoint\n{job.text()}")
            tried += 1
    return f"{tried} ranks killed, stopped or crashed: each job ended with an error and continued from its checkpoint"


def slow_rank(options: argparse.Namespace, work: Path) -> str:
    """A rank that stands still for less than the time limit only delays the job."""
    job = Job(options, 2, work / "slow", *NETWORKS["noise-net"], *SMALL, "--steps", "60")
    job.wait_for_step(3)
    process = job.processes()[1]
    os.kill(process, signal.SIGSTOP)
    time.sleep(RANK_TIMEOUT / 2)
    os.kill(process, signal.SIGCONT)
    job.succeed()
    return f"a rank that stands still for {RANK_TIMEOUT / 2} s of {RANK_TIMEOUT}: the job finishes"


def failing_data(options: argparse.Namespace, work: Path) -> str:
    """Errors of one rank, and wrong usage, end the job with one line of the program."""
    usage = [*NETWORKS["noise-net"], *SMALL, "--set", "train.gradient_accumulation_steps=4", "--steps", "2"]
    job = Job(options, 3, work / "usage", *usage)
    code = job.wait(DEADLINE)
    lines = [line for line in job.text().splitlines() if line.startswith("error:")]
    if code == 0 or len(lines) != 1 or "train.gradient_accumulation_steps" not in lines[0] or job.out.exists():
        raise Broken(f"4 batches on 3 ranks: exit code {code}, run directory {job.out.exists()}\n{job.text()}")
    damaged = work / "damaged"
    damaged.mkdir()
    for number in range(40):
        (damaged / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    job = Job(options, 2, work / "data", *NETWORKS["noise-net"], *SMALL, "--steps", "2", "--data", str(damaged))
    if job.wait(DEADLINE) == 0 or "error:" not in job.text():
        raise Broken(f"images that cannot be decoded: no error\n{job.text()}")
    return "4 batches on 3 ranks, and undecodable images: the job ends with an error"


PARTS = [same_weights, same_samples, overlap, resumed_elsewhere, scaled_batches, failing_ranks, slow_rank, failing_data]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mpirun", default="mpirun", help="mpirun of the MPI library that the programs are built with")
    parser.add_argument("--programs", type=Path, default=Path("target/debug"))
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS])
    options = parser.parse_args()
    options.programs = options.programs.resolve()
    version = subprocess.run([options.mpirun, "--version"], capture_output=True, text=True, check=True).stdout
    options.is_open_mpi = "Open MPI" in version or "OpenRTE" in version
    for part in PARTS:
        if options.only and part.__name__ not in options.only:
            continue
        with tempfile.TemporaryDirectory() as work:
            start = time.monotonic()
            try:
                result = part(options, Path(work).resolve())
            except Broken as broken:
                print(f"{part.__name__}: broken: {broken}", file=sys.stderr)
                return 1
            print(f"{part.__name__}: {result} ({time.monotonic() - start:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
