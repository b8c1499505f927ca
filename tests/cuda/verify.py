#!/usr/bin/env python3
"""Checks that a GPU computes the same as the CPU, with cuDNN and the project's kernels. This is the only command to
run on a machine with a GPU.

    python tests/cuda/verify.py [--device cuda:0]

It consists of parts, of which --parts selects some:

tests        every operation against f64, every golden network with all its gradients, the optimizer step, a step that
             is not finite, and a captured step (`cargo test` with DDPM_TEST_DEVICE set)
sizes        convolutions of 3 to 1024 channels and 128 images in f32, TF32 and bf16; f64; precisions that take turns;
             a full memory
cudnn        every preset, in f32 and bf16: fails if a convolution did not use cuDNN or an operation has no kernel, and
             prints algorithm, math type, determinism and workspace of each convolution
losses       trainings from one seed on the CPU and on the GPU in f32, TF32 and bf16: how much their losses differ
repeat       a training in bf16, the same again, and one that is stopped and resumed: whether the weights are equal
graph        the same training with train.cuda_graph: whether steps were replayed, and whether the weights are equal
sanitizer    the kernels under compute-sanitizer (memcheck, initcheck, racecheck), where it is installed

A part that has passed is not repeated for the same commit and device unless --again is given, so the command can be
run again after an interruption. Exits with 1 if a part failed. The time on an H100 is an estimate: under eight minutes
with prebuilt programs.

Needs the requirements of a build with `cuda` (docs/cuda.md), and no Python package. For a machine without Rust, build
elsewhere with `--build DIR`, copy DIR and the checkout there, and pass `--binaries DIR`.
"""

import argparse
import array
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARTS = ["tests", "sizes", "cudnn", "losses", "repeat", "graph", "sanitizer"]
# The test binaries of each part, in the order in which they run.
TESTS = {
    "tests": [
        "device_update",
        "against_composed",
        "fixed_weights",
        "golden",
        "precision",
        "recompute",
        "unet2d",
        "adam_golden",
        "captured_step",
    ],
    "sizes": ["real_sizes"],
}
# Test binaries, and the tests in them, that compute-sanitizer runs: each kernel once. It slows them down a lot.
SANITIZED = [
    ("device_update", []),
    ("captured_step", ["replayed_steps"]),
    ("against_composed", ["views_are_read", "attention", "modulate", "dropout", "concat_and_resample"]),
]
PRESETS = ["digits", "mnist", "cifar10", "article", "ddpm-cifar10"]
# Mean relative distance of the losses from those of the CPU in f32. Batches, timesteps and noise are the same, so only
# rounding differs.
BOUNDS = {"f32": 1e-3, "tf32": 1e-2, "bf16": 3e-2}
# Relative distance of the weights of two trainings in bf16. cuDNN chooses algorithms by timing them: two processes may
# choose differently, and then differ by rounding.
MOST_APART = 3e-2


class Failed(Exception):
    """A check that does not hold."""


class Programs:
    """The programs under test: built here, or prebuilt in a directory."""

    def __init__(self, device, directory):
        self.device, self.directory = device, directory
        self.built_train, self.tests = None, None

    def features(self, *names):
        return [] if self.device == "cpu" else ["--features", ",".join(names)]

    def train(self):
        if self.directory:
            return self.directory / "ddpm-train"
        if self.built_train is None:
            run(["cargo", "build", "--release", "-p", "ddpm-train", *self.features("cuda")], cwd=ROOT)
            target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
            self.built_train = target / "release" / "ddpm-train"
        return self.built_train

    def test(self, name):
        """The paths of the test binaries of this name: several crates may have one."""
        if self.directory:
            found = sorted(self.directory.glob(f"test-{name}-*"))
        else:
            found = self.built_tests().get(name, [])
        if not found:
            raise Failed(f"no test binary {name}")
        return found

    def built_tests(self):
        if self.tests is None:
            words = [word for names in TESTS.values() for name in names for word in ("--test", name)]
            command = ["cargo", "test", "--release", "--workspace", *self.features("ddpm-train/cuda"), *words]
            command += ["--no-run", "--message-format=json-render-diagnostics"]
            out = run(command, cwd=ROOT, stdout=subprocess.PIPE)
            self.tests = {}
            for line in out.splitlines():
                message = json.loads(line)
                if message.get("reason") == "compiler-artifact" and message.get("executable"):
                    if message["target"]["kind"] == ["test"]:
                        path = pathlib.Path(message["executable"])
                        self.tests.setdefault(message["target"]["name"], []).append(path)
        return self.tests

    def build(self, directory):
        """Builds everything, and puts stripped copies into a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        copies = {"ddpm-train": self.train()}
        for name, paths in self.built_tests().items():
            copies |= {f"test-{name}-{i}": path for i, path in enumerate(paths)}
        for name, path in copies.items():
            shutil.copy(path, directory / name)
            run(["strip", directory / name])
        size = sum((directory / name).stat().st_size for name in copies) / 2**20
        print(f"{len(copies)} programs, {size:.0f} MiB, in {directory}")


def run(command, **options):
    """Runs a command and returns its standard output if it was asked for. Raises Failed if the command fails."""
    command = [str(word) for word in command]
    done = subprocess.run(command, text=True, check=False, **options)
    if done.returncode:
        shown = (done.stderr or done.stdout or "").strip().splitlines()[-12:]
        raise Failed("\n".join([f"{pathlib.Path(command[0]).name} ended with {done.returncode}", *shown]))
    return done.stdout


def test_environment(device):
    emulated = {"DDPM_EMULATE_CUDA": "1"} if device == "cpu" else {}
    golden = {"DDPM_TEST_GOLDEN": str(ROOT / "tests" / "golden")}
    return {**os.environ, "DDPM_TEST_DEVICE": device, "RUST_BACKTRACE": "0", **golden, **emulated}


def run_tests(programs, names):
    for name in names:
        for path in programs.test(name):
            # One test at a time, because a test that waits for the GPU waits for the work of all tests.
            run([path, "--test-threads", "1"], env=test_environment(programs.device), capture_output=True)
            print(f"     {name}", flush=True)


def part_tests(programs, _args, _work):
    run_tests(programs, TESTS["tests"])
    return f"{len(TESTS['tests'])} test programs passed"


def part_sizes(programs, _args, _work):
    run_tests(programs, TESTS["sizes"])
    return "sampled elements agree with direct sums"


def benchmark(programs, preset, batch, *sets):
    command = [programs.train(), "--preset", preset, "--data", "none", "--batch-size", batch]
    command += ["--device", programs.device, "-q", "--benchmark", 2]
    command += [word for key in sets for word in ("--set", key)]
    return json.loads(run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def part_cudnn(programs, args, _work):
    if programs.device == "cpu" and not args.binaries:
        return "skipped: the CPU has no cuDNN"
    convolutions = 0
    for preset in PRESETS:
        for precision in ("f32", "bf16"):
            report = benchmark(programs, preset, args.batch, f"train.precision={precision}")
            print(f"     {preset}, {precision}", flush=True)
            for used in report["convolutions"]:
                kind = "deterministic" if used["deterministic"] else "NOT DETERMINISTIC"
                kind += ", searched with little memory" if used["constrained"] else ""
                print(
                    f"       {used['pass']:16} {used['shape']}: algorithm {used['algorithm']}, {used['math']}, "
                    f"{kind}, workspace {used['workspace_bytes'] / 2**20:.1f} MiB, {used['calls']} calls"
                )
            if report["fallbacks"]:
                lines = [f"{of['operation']}: {of['reason']} ({of['calls']} calls)" for of in report["fallbacks"]]
                raise Failed("\n".join([f"{preset}, {precision}: operations without a kernel", *lines]))
            if not report["convolutions"]:
                raise Failed(f"{preset}, {precision}: cuDNN computed no convolution")
            convolutions += len(report["convolutions"])
    return f"{convolutions} convolutions of {len(PRESETS)} presets, all by cuDNN"


def losses(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    # Lines of validations have no loss of a step.
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def train(programs, out, device, precision, steps, *more):
    command = [programs.train(), "--preset", "digits", "--out", out, "--device", device, "--steps", steps, "-q"]
    sets = [
        f"train.precision={precision}",
        "train.log_every_steps=1",
        "train.learning_rate_schedule=constant",
        "sample.preview_images=0",
        "train.sample_every_steps=0",
    ]
    run([*command, *(word for key in (*sets, *more) for word in ("--set", key))], capture_output=True)
    return out


def weights(run_dir, steps):
    """The EMA weights of a checkpoint, read from its file: the length of the header, the header, and f32 values."""
    data = (run_dir / "checkpoints" / f"step-{steps:06}" / "model.safetensors").read_bytes()
    values = array.array("f")
    values.frombytes(data[8 + int.from_bytes(data[:8], "little") :])
    return values


def compare_weights(what, one, other):
    squares = sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
    distance = math.sqrt(squares / sum(a * a for a in one))
    found = f"{what}: " + (f"weights {distance:.1e} apart, at most {MOST_APART:.0e}" if distance else "the same bits")
    if not distance < MOST_APART:
        raise Failed(found)
    return found


def part_losses(programs, args, work):
    expected = losses(train(programs, work / "cpu", "cpu", "f32", args.steps))
    results = []
    for precision, bound in BOUNDS.items():
        found = losses(train(programs, work / precision, programs.device, precision, args.steps))
        if len(found) != len(expected):
            raise Failed(f"{precision}: expected {len(expected)} losses, found {len(found)}")
        distance = sum(abs(a - b) / b for a, b in zip(found, expected)) / len(expected)
        results.append(f"{precision} {distance:.1e} apart, at most {bound:.0e}")
        if not distance < bound:
            raise Failed(results[-1])
    return "; ".join(results)


def part_repeat(programs, args, work):
    half = args.steps // 2
    first = weights(train(programs, work / "first", programs.device, "bf16", args.steps), args.steps)
    again = weights(train(programs, work / "again", programs.device, "bf16", args.steps), args.steps)
    train(programs, work / "parts", programs.device, "bf16", half)
    parts = weights(train(programs, work / "parts", programs.device, "bf16", args.steps), args.steps)
    return "; ".join([compare_weights("again", first, again), compare_weights("resumed", first, parts)])


def part_graph(programs, args, work):
    report = benchmark(programs, "digits", 32, "train.cuda_graph=true")
    if programs.device != "cpu" and not report["replayed_steps"]:
        raise Failed("train.cuda_graph = true: the steps were not replayed")
    plain = weights(train(programs, work / "plain", programs.device, "bf16", args.steps), args.steps)
    out = train(programs, work / "graph", programs.device, "bf16", args.steps, "train.cuda_graph=true")
    return compare_weights("captured", plain, weights(out, args.steps))


def part_sanitizer(programs, _args, _work):
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    tool = shutil.which("compute-sanitizer") or shutil.which(f"{home}/bin/compute-sanitizer")
    if not tool:
        return "skipped: compute-sanitizer is not installed"
    for check in ("memcheck", "initcheck", "racecheck"):
        for name, only in SANITIZED:
            for path in programs.test(name):
                command = [tool, "--tool", check, "--error-exitcode", 99, path, "--test-threads", 1, *only]
                run(command, env=test_environment(programs.device), capture_output=True)
        print(f"     {check}", flush=True)
    return "no error in memcheck, initcheck and racecheck"


def commit():
    """The commit of the checkout, marked if files differ from it; None where it is no repository."""
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    head = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return f"{head.stdout.strip()}{'+' if changed else ''}" if head.returncode == 0 else None


class Record:
    """The parts that have passed for a commit, device and set of programs, in a file under target/."""

    def __init__(self, args):
        self.path = ROOT / "target" / "verify-cuda.json"
        self.key = f"{commit()} {args.device} {args.binaries or 'built'} steps={args.steps} batch={args.batch}"
        # Changed files may change again under the same commit.
        self.usable = "+" not in self.key and "None" not in self.key.split()[0]

    def passed(self):
        try:
            return json.loads(self.path.read_text()).get(self.key, {}) if self.usable else {}
        except (OSError, ValueError):
            return {}

    def add(self, part, found):
        if self.usable:
            self.path.parent.mkdir(exist_ok=True)
            text = json.dumps({self.key: {**self.passed(), part: found}}, indent=1)
            temporary = self.path.with_suffix(".new")
            temporary.write_text(text)
            temporary.replace(self.path)


def parts(text):
    names = text.split(",")
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(PARTS)}, found {name}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to test this script without a GPU")
    parser.add_argument("--parts", type=parts, default=PARTS, metavar="A,B", help="run these parts only")
    parser.add_argument("--again", action="store_true", help="repeat parts that have passed")
    parser.add_argument("--steps", type=int, default=200, help="length of the trainings")
    parser.add_argument("--batch", type=int, default=32, help="images per batch of the part cudnn")
    parser.add_argument("--build", type=pathlib.Path, metavar="DIR", help="build all programs into DIR, and stop")
    parser.add_argument("--binaries", type=pathlib.Path, metavar="DIR", help="use the programs in DIR")
    args = parser.parse_args()
    programs = Programs(args.device, args.binaries and args.binaries.resolve())
    if args.build:
        try:
            programs.build(args.build)
        except Failed as failure:
            sys.exit(f"FAIL build: {failure}")
        return
    record, failed = Record(args), []
    for part in args.parts:
        if part in record.passed() and not args.again:
            print(f"ok   {part}: {record.passed()[part]} (earlier)", flush=True)
            continue
        start = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as work:
                found = globals()[f"part_{part}"](programs, args, pathlib.Path(work))
        except (Failed, OSError, KeyError, ValueError) as failure:
            failed.append(part)
            print(f"FAIL {part}: {failure or type(failure).__name__}", flush=True)
            continue
        print(f"ok   {part}: {found} ({time.monotonic() - start:.0f} s)", flush=True)
        record.add(part, found)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
