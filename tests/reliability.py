"""Kills, signals, failing system calls, damaged files and memory: what docs/reliability.md promises.

    cargo build -p ddpm-train -p ddpm-sample
    python tests/reliability.py [--short] [--only kills ...] [--seed N] [--program-directory target/debug]

Every part prints one line with what was tried and exits with an error on the first broken promise. Needs Python 3.10
and, for the parts `syscalls` and `disk`, strace; without it these parts are skipped. Linux only.
"""

import argparse
import gzip
import io
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A network that trains in milliseconds, with dropout, so that every random stream is in use.
SMALL = (
    "--threads 2 --set model.base_channels=8 --set model.attention_heads=1 --set model.attention_head_channels=8 "
    "--set model.dropout=0.1 --batch-size 8 --set sample.preview_images=4 --set sample.preview_steps=3 "
    "--set train.checkpoint_every_steps=7 --set train.sample_every_steps=20"
).split()
FILES = ["model.safetensors", "training.safetensors", "state.json"]
TIME_LIMIT = 60


class Broken(Exception):
    """A promise that does not hold."""


class Programs:
    def __init__(self, directory: Path, work: Path) -> None:
        self.directory, self.work = directory, work
        self.environment = {**os.environ, "DDPM_CACHE_DIR": str(work / "cache"), "RUST_LOG": "info"}

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        return [str(self.directory / program), *map(str, arguments)]

    def start(self, command: list[str]) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=self.work, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=True,
        )

    def run(self, command: list[str]) -> tuple[int, str, int]:
        """Exit code, standard error, and peak memory in KiB. A negative code is a signal."""
        process = self.start(command)
        try:
            _, errors = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Broken(f"no end within {TIME_LIMIT} s: {' '.join(command)}") from None
        return process.returncode, errors, 0

    def peak_memory(self, command: list[str]) -> tuple[int, str, int]:
        with tempfile.TemporaryFile(mode="w+", errors="replace") as errors:
            process = subprocess.Popen(
                command, cwd=self.work, env=self.environment, stdout=subprocess.DEVNULL, stderr=errors
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            return process.returncode, errors.read(), usage.ru_maxrss

    def train(self, run: str, steps: int) -> list[str]:
        return self.command("ddpm-train", *SMALL, "--steps", str(steps), "--out", run)


def expect(condition: bool, problem: str) -> None:
    if not condition:
        raise Broken(problem)


def checkpoint(work: Path, run: str, steps: int) -> list[bytes]:
    directory = work / run / "checkpoints" / f"step-{steps:06}"
    return [(directory / name).read_bytes() for name in FILES]


def check_ordinary_end(code: int, errors: str, what: str) -> None:
    """A program may refuse its input, in one line. It must not crash."""
    expect(code in (0, 1, 2), f"{what}: exit code {code}\n{errors}")
    expect("panicked" not in errors, f"{what}: a panic\n{errors}")
    if code != 0:
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        expect(len(lines) == 1, f"{what}: expected one error line\n{errors}")


def kills(programs: Programs, randomness: random.Random, short: bool) -> str:
    """Kills at random moments; the result has the bytes of a run that was not interrupted."""
    steps, rounds, killed = 60, 2 if short else 12, 0
    expect(programs.run(programs.train("whole", steps))[0] == 0, "the whole run failed")
    whole = checkpoint(programs.work, "whole", steps)
    for number in range(rounds):
        run = f"killed-{number}"
        for _ in range(5 if short else 25):
            process = programs.start(programs.train(run, steps))
            try:
                process.communicate(timeout=randomness.uniform(0.01, 0.6))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
        code, errors, _ = programs.run(programs.train(run, steps))
        expect(code == 0, f"a killed run does not continue\n{errors}")
        expect(checkpoint(programs.work, run, steps) == whole, f"{run} has other bytes")
        expect((programs.work / run / "results.json").is_file(), f"{run} has no results")
        leftovers = [str(path) for path in (programs.work / run).rglob(".ddpm-tmp-*")]
        expect(not leftovers, f"temporary files are left: {leftovers}")
    return f"{killed} kills at random moments in {rounds} runs: equal bytes"


def signals(programs: Programs, randomness: random.Random, short: bool) -> str:
    """SIGINT, SIGTERM and SIGHUP at random moments save the state; the exit code is 128 + n."""
    steps, sent = 60, 0
    whole = checkpoint(programs.work, "whole", steps)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for attempt in range(1 if short else 6):
            run = f"signal-{number}-{attempt}"
            for _ in range(4):
                process = programs.start(programs.train(run, steps))
                try:
                    process.communicate(timeout=randomness.uniform(0.05, 0.5))
                except subprocess.TimeoutExpired:
                    process.send_signal(number)
                    _, errors = process.communicate(timeout=TIME_LIMIT)
                    expect(process.returncode in (128 + number, 0), f"signal {number}: {process.returncode}\n{errors}")
                    sent += 1
            expect(programs.run(programs.train(run, steps))[0] == 0, f"{run} does not continue")
            expect(checkpoint(programs.work, run, steps) == whole, f"{run} has other bytes")
    return f"{sent} signals (INT, TERM, HUP): exit codes 130, 143, 129, equal bytes"


CALLS = "openat,write,rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat,mkdir,ftruncate,flock"


def traced(trace: Path, calls: str, injection: str | None, command: list[str]) -> list[str]:
    inject = ["-e", f"inject={injection}"] if injection else []
    return ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", *inject, *command]


def points(programs: Programs, calls: str, run: str, steps: int, most: int, randomness: random.Random) -> list[tuple]:
    """System calls of a whole run, as (name, number): strace counts the calls of each name in each thread from 1."""
    trace = programs.work / "trace"
    code, errors, _ = programs.run(traced(trace, calls, None, programs.train(run, steps)))
    expect(code == 0, f"strace failed\n{errors}")
    counts: dict[tuple[str, str], int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        name = rest.strip().partition("(")[0]
        if name in calls.split(","):
            counts[thread, name] = counts.get((thread, name), 0) + 1
    largest = {name: max(n for (_, other), n in counts.items() if other == name) for _, name in counts}
    every = [(name, number) for name in sorted(largest) for number in range(1, largest[name] + 1)]
    return sorted(randomness.sample(every, min(most, len(every))))


def syscalls(programs: Programs, randomness: random.Random, short: bool) -> str:
    """A kill at every n-th system call that changes a file; the next session completes the run."""
    steps, killed = 15, 0
    tried = points(programs, CALLS, "traced", steps, 8 if short else 1000, randomness)
    whole = checkpoint(programs.work, "traced", steps)
    for name, number in tried:
        run = f"killed-at-{name}-{number}"
        injection = f"{name}:signal=KILL:when={number}"
        code, _, _ = programs.run(traced(Path("/dev/null"), name, injection, programs.train(run, steps)))
        killed += code != 0
        code, errors, _ = programs.run(programs.train(run, steps))
        expect(code == 0, f"killed at {name} {number}: the run does not continue\n{errors}")
        expect(checkpoint(programs.work, run, steps) == whole, f"killed at {name} {number}: other bytes")
        shutil.rmtree(programs.work / run)
    expect(killed > len(tried) // 2, f"only {killed} of {len(tried)} sessions were killed")
    return f"{killed} sessions killed at one of {len(tried)} system calls that change files: equal bytes"


def disk(programs: Programs, randomness: random.Random, short: bool) -> str:
    """A full disk from the n-th write, sync or truncation on: nothing lost, and the run continues later."""
    steps, calls, failed, full = 15, "write,fsync,ftruncate", 0, 0
    tried = points(programs, calls, "written", steps, 6 if short else 1000, randomness)
    whole = checkpoint(programs.work, "written", steps)
    trace = programs.work / "trace"
    for name, number in tried:
        run = f"full-at-{name}-{number}"
        # Messages on standard error fail too, so the exit code alone is checked.
        injection = f"{name}:error=ENOSPC:when={number}+"
        code, errors, _ = programs.run(traced(trace, name, injection, programs.train(run, steps)))
        expect(code in (0, 1), f"full at {name} {number}: exit code {code}\n{errors}")
        injected = [line for line in trace.read_text(errors="replace").splitlines() if "INJECTED" in line]
        full += bool(injected)
        failed += code == 1
        # Standard error is file 2, and a lock is emptied when it is released, which has no consequence. A failure on
        # another file must not be passed over.
        on_files = [line for line in injected if "write(2," not in line and ", 0)  " not in line]
        expect(code == 1 or not on_files, f"full at {name} {number}: success although\n" + "\n".join(on_files))
        code, errors, _ = programs.run(programs.train(run, steps))
        expect(code == 0, f"full at {name} {number}: the run does not continue\n{errors}")
        expect(checkpoint(programs.work, run, steps) == whole, f"full at {name} {number}: other bytes")
        shutil.rmtree(programs.work / run)
    expect(full > len(tried) // 2, f"the disk was full in only {full} of {len(tried)} sessions")
    return f"a full disk from one of {len(tried)} calls on: {full} sessions met it, {failed} failed: equal bytes later"


def png(width: int, height: int) -> bytes:
    """A gray PNG file, with the same row throughout."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    # Row by row, because the peak memory of this process would count as that of the programs that it starts.
    row, compressor = b"\0" + bytes(7 * x % 256 if width < 256 else 0 for x in range(width)), zlib.compressobj(9)
    body = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def golden_jpeg() -> bytes:
    """A JPEG file out of tests/golden/images.safetensors."""
    content = (ROOT / "tests/golden/images.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    start, end = json.loads(content[8 : 8 + length])["color.file"]["data_offsets"]
    return content[8 + length + start : 8 + length + end]


def samples_of_formats() -> dict[str, bytes]:
    images = [png(9, 8 + i) for i in range(4)]
    archive, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for i, image in enumerate(images):
            file.writestr(f"{i}.png", image)
    with tarfile.open(fileobj=tar, mode="w") as file:
        for i, image in enumerate(images):
            entry = tarfile.TarInfo(f"{i}.png")
            entry.size = len(image)
            file.addfile(entry, io.BytesIO(image))
    idx = struct.pack(">IIII", 0x803, 4, 8, 8) + bytes(range(256))
    return {
        "image.png": images[0],
        "image.jpg": golden_jpeg(),
        "images.zip": archive.getvalue(),
        "images.tar": tar.getvalue(),
        "images.tar.gz": gzip.compress(tar.getvalue()),
        "images-idx3-ubyte": idx,
        "images-idx3-ubyte.gz": gzip.compress(idx),
        "data_batch_1.bin": bytes(i % 251 for i in range(4 * 3073)),
    }


def mutate(content: bytes, randomness: random.Random) -> bytes:
    """Cuts, flips, repeats, removes, or replaces by extreme numbers."""
    content = bytearray(content)
    for _ in range(randomness.choice([1, 1, 2, 8])):
        at = randomness.randrange(max(1, len(content)))
        match randomness.randrange(6):
            case 0:
                content = content[:at]
            case 1 if content:
                content[at] ^= 1 << randomness.randrange(8)
            case 2:
                content[at:at] = content[at : at + randomness.randrange(64)]
            case 3:
                del content[at : at + randomness.randrange(64)]
            case 4:
                content[at : at + 4] = randomness.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
            case _:
                content[at : at + 8] = randomness.randbytes(8)
    return bytes(content)


def mutations(programs: Programs, randomness: random.Random, short: bool) -> str:
    """Damaged files of every format: an ordinary end within a minute, with one error line."""
    rounds = 3 if short else 60
    counts = {}
    folder = programs.work / "mutated"
    folder.mkdir()
    for name, content in samples_of_formats().items():
        path = folder / name
        for _ in range(rounds):
            path.write_bytes(mutate(content, randomness))
            command = programs.command(
                "ddpm-train", "--preset", "digits", "--data", path, "--show-data", "2", "--batch-size", "1", "-q"
            )
            code, errors, _ = programs.run(command)
            check_ordinary_end(code, errors, f"a damaged {name}, kept in {path}")
        counts[name] = rounds
        path.unlink()
    # Files of a run. Each is damaged in a copy, which is then sampled and continued.
    names = ["config.toml", "metrics.jsonl", "results.json"]
    names += [f"checkpoints/step-000060/{file}" for file in [*FILES, "manifest.json"]]
    for name in names:
        for _ in range(rounds):
            copy = programs.work / "damaged"
            shutil.copytree(programs.work / "whole", copy)
            path = copy / name
            path.write_bytes(mutate(path.read_bytes(), randomness))
            for command in (
                programs.command(
                    "ddpm-sample", copy, "-n", "1", "--steps", "2", "--out", programs.work / "o", "--overwrite"
                ),
                programs.command("ddpm-train", "--resume", copy, "--steps", "61", "--threads", "2"),
            ):
                code, errors, _ = programs.run(command)
                check_ordinary_end(code, errors, f"a damaged {name}")
            shutil.rmtree(copy)
        counts[Path(name).name] = 2 * rounds
    return f"{sum(counts.values())} programs on damaged files of {len(counts)} kinds: no crash, no hang"


def memory(programs: Programs, _: random.Random, __: bool) -> str:
    """Inputs that claim to be large are refused before memory is allocated."""
    limit = 200 << 10
    results = []
    large = programs.work / "large"
    large.mkdir()
    (large / "a.png").write_bytes(png(16000, 16000))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (programs.work / "large.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    for what, command in {
        "a PNG of 16000×16000 pixels in %d KB" % ((large / "a.png").stat().st_size // 1000): programs.command(
            "ddpm-train", "--data", large, "--show-data", "1", "--batch-size", "1"
        ),
        "digits at 512×512": programs.command("ddpm-train", "--set", "model.image_size=512"),
        "a tensor of 4 TiB": programs.command("ddpm-sample", "large.safetensors"),
    }.items():
        code, errors, peak = programs.peak_memory(command)
        check_ordinary_end(code, errors, what)
        expect(code != 0, f"{what}: accepted")
        expect(peak < limit, f"{what}: {peak >> 10} MiB\n{errors}")
        results.append(f"{what}: {peak >> 10} MiB")
    return "refused: " + "; ".join(results)


PARTS = {
    "kills": kills, "signals": signals, "syscalls": syscalls, "disk": disk, "mutations": mutations, "memory": memory,
}
NEED_STRACE = {"syscalls", "disk"}


def strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a minute instead of a quarter of an hour")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program-directory", type=Path, default=ROOT / "target" / "debug")
    arguments = parser.parse_args()
    # Signals that this process ignores would be ignored by the programs too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    has_strace = strace_works()
    with tempfile.TemporaryDirectory() as directory:
        programs = Programs(arguments.program_directory.resolve(), Path(directory))
        if "kills" not in arguments.only:
            code, errors, _ = programs.run(programs.train("whole", 60))
            expect(code == 0, errors)
        for name in arguments.only:
            if name in NEED_STRACE and not has_strace:
                print(f"{name}: skipped, strace is not available", flush=True)
                continue
            start = time.perf_counter()
            try:
                result = PARTS[name](programs, random.Random(f"{arguments.seed} {name}"), arguments.short)
            except Broken as problem:
                sys.exit(f"{name}: BROKEN: {problem}")
            print(f"{name}: {result} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
