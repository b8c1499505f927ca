#!/usr/bin/env python3
"""ddpm-train, ddpm-sample and PyTorch side by side on one GPU: the same network and batch, in one run.

    pip install -r benches/requirements.txt
    cargo build --release -p ddpm-train -p ddpm-sample --features cuda
    python benches/gpu_vs_pytorch.py

A training step is the same on both sides: the copy of a batch of images to the GPU, timesteps and noise, noisy images,
forward pass, MSE, backward pass, clipping by the global norm, Adam, and the exponential moving average. PyTorch copies
from page-locked memory without waiting, draws noise on the GPU, and uses its fused Adam; its bf16 is autocast over f32
weights. ddpm-train draws noise on the CPU, in a thread of its own.

PyTorch runs in five modes, each in a process of its own that waits while the others are timed: eager; channels_last;
compiled, which is channels_last with torch.compile; and compiled with the modes reduce-overhead (CUDA graphs) and
max-autotune. The programs take turns, and the time of each is its median over all rounds. Sampling is DDIM, noise
included, in images per second without the start of the programs. Memory is the largest amount that the allocator of
each side has held for tensors, and in parentheses with what it keeps for later ones.

A mode whose process dies is reported on standard error with the end of its output, and the others go on.
`--cuda-graph` trains here with train.cuda_graph. `--nsys` adds what Nsight Systems measures of a training here: the
share of time in which the GPU is idle, and the kernels that take most of the time. `--device cpu` tests the script
itself on a machine without a GPU.
"""

import argparse
import csv
import io
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import vs_pytorch

ROOT = vs_pytorch.ROOT
CASES = [("cifar10", 32), ("cifar10", 128), ("cifar10", 512)]
MODES = ("eager", "channels_last", "compiled", "reduce-overhead", "max-autotune")
COMPILED = {"compiled": "default", "reduce-overhead": "reduce-overhead", "max-autotune": "max-autotune"}
# Peak FLOP per second of dense matrix products, by a part of the name of the GPU.
PEAK = {
    "H100": {"bf16": 989e12, "tf32": 494e12},
    "H200": {"bf16": 989e12, "tf32": 494e12},
    "A100": {"bf16": 312e12, "tf32": 156e12},
}


def worker(mode, precision, config, batch, device):
    """Runs the commands on standard input: `train N`, `sample N` (N is a number of steps) or `flops`, one per line."""
    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    import torch
    from article_net import NoiseNet
    from torch.utils.flop_counter import FlopCounterMode

    on_gpu = device != "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    model, averaged = NoiseNet(config).to(device), NoiseNet(config).to(device)
    height, width = config["image_size"]
    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model, averaged = model.to(memory_format=layout), averaged.to(memory_format=layout)
    images = torch.randn(batch, config["channels"], height, width).clamp(-1, 1)
    images = images.pin_memory() if on_gpu else images
    parameters, averages = list(model.parameters()), list(averaged.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-6, fused=on_gpu)
    compiled = lambda m: torch.compile(m, mode=COMPILED[mode]) if mode in COMPILED else m
    trained, sampled = compiled(model), compiled(averaged)
    narrow = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=device), 0)
    # With CUDA graphs, outputs of the last step are overwritten by the next one.
    begin = torch.compiler.cudagraph_mark_step_begin if mode in COMPILED else lambda: None

    def step():
        begin()
        x_0 = images.to(device, non_blocking=True).to(memory_format=layout)
        t = torch.randint(1000, (batch,), device=device)
        eps = torch.randn_like(x_0)
        kept = alpha_bar[t].view(-1, 1, 1, 1)
        x_t = kept.sqrt() * x_0 + (1 - kept).sqrt() * eps
        with narrow:
            loss = torch.nn.functional.mse_loss(trained(x_t, t.float()).float(), eps)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.005)

    @torch.inference_mode()
    def sample(steps):
        image = torch.randn(batch, config["channels"], height, width, device=device).to(memory_format=layout)
        t = torch.empty(batch, device=device)
        for i in reversed(range(steps)):
            begin()
            now = alpha_bar[i * 1000 // steps]
            before = alpha_bar[(i - 1) * 1000 // steps] if i else alpha_bar.new_tensor(1.0)
            with narrow:
                predicted = sampled(image, t.fill_(i * 1000 // steps)).float()
            clean = ((image - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-1, 1)
            image = before.sqrt() * clean + (1 - before).sqrt() * (image - now.sqrt() * clean) / (1 - now).sqrt()

    def wait():
        if on_gpu:
            torch.cuda.synchronize()

    for line in sys.stdin:
        what, *n = line.split()
        if what == "flops":
            with FlopCounterMode(display=False) as counter:
                step()
            name = torch.cuda.get_device_name() if on_gpu else "cpu"
            answer = {"flops": counter.get_total_flops(), "gpu": name}
        else:
            step() if what == "train" else sample(2)
            wait()
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            for _ in range(int(n[0])) if what == "train" else ():
                step()
            if what == "sample":
                sample(int(n[0]))
            wait()
            answer = {"seconds": time.perf_counter() - start}
            if on_gpu:
                answer["allocated_mib"] = torch.cuda.max_memory_allocated() / 2**20
                answer["reserved_mib"] = torch.cuda.max_memory_reserved() / 2**20
        print(json.dumps(answer), flush=True)


class Died(Exception):
    """The process of a mode ended before it answered."""


class Mode:
    """PyTorch in one mode, in a process of its own."""

    def __init__(self, name, precision, config, batch, device):
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, __file__, "--worker", name, precision, json.dumps(config), str(batch), device]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def ask(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        code = self.process.wait()
        self.errors.seek(0)
        end = self.errors.read().strip().splitlines()[-3:]
        raise Died(f"PyTorch {self.name} ended with {code}: " + " | ".join(line.strip() for line in end))

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()
        self.errors.close()


def run(*command):
    out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if out.returncode:
        sys.exit(f"{command[0]}: {out.stderr.strip()}")
    return out.stdout


def train_command(args, preset, batch, precision):
    sets = [f"train.precision={precision}", *(["train.cuda_graph=true"] if args.cuda_graph else [])]
    flags = ["--preset", preset, "--data", "none", "--batch-size", batch, "--device", args.device, "-q"]
    return [args.train, *flags, *(word for key in sets for word in ("--set", key)), "--benchmark", args.steps]


def ours_train(args, preset, batch, precision):
    report = json.loads(run(*train_command(args, preset, batch, precision)))
    if report["fallbacks"]:
        sys.exit(f"ddpm-train composed operations that should have kernels: {report['fallbacks']}")
    if args.cuda_graph and args.device != "cpu" and not report["replayed_steps"]:
        sys.exit("ddpm-train did not replay the steps although train.cuda_graph is set")
    return report


def ours_sample(args, run_dir, batch, precision, batches):
    """Seconds that sampling this number of batches takes, including the start of the program."""
    flags = ["-n", batch * batches, "--batch-size", batch, "--sampler", "ddim", "--steps", args.sampling_steps]
    flags += ["--grid-only", "-q", "--precision", precision, "--device", args.device]
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        run(args.sample, run_dir, *flags, "--out", out)
        return time.perf_counter() - start


def untrained(args, preset, where):
    """A run of this preset after one step. The values of its weights do not affect the speed."""
    quiet = ["sample.preview_images=0", "train.sample_every_steps=0", "train.warmup_steps=0"]
    sets = [word for key in quiet for word in ("--set", key)]
    flags = ["--preset", preset, "--data", args.data, "--batch-size", 2, "--steps", 1]
    run(args.train, *flags, *sets, "--out", where, "-q")
    return where


def compare(args, preset, batch, precision, run_dir):
    """Times one case, prints its two rows, and returns the name of the GPU."""
    config = vs_pytorch.network(args.train, preset)
    device = args.device.split(":")[0]
    modes = {name: Mode(name, precision, config, batch, device) for name in args.modes}
    dead, about = {}, {}
    rates = {(who, what): [] for who in (*args.modes, "ours") for what in ("train", "sample")}
    memory = {}

    def of_mode(name):
        """One turn of a mode: its rates in training and sampling."""
        answer = modes[name].ask("train", args.steps)
        rates[name, "train"].append(batch * args.steps / answer["seconds"])
        memory[name] = (answer.get("allocated_mib"), answer.get("reserved_mib"))
        rates[name, "sample"].append(batch / modes[name].ask("sample", args.sampling_steps)["seconds"])

    def attempt(name, turn):
        if name not in dead:
            try:
                turn()
            except Died as death:
                dead[name] = str(death)
                print(death, file=sys.stderr, flush=True)

    for name in args.modes:
        attempt(name, lambda: about.update(about or modes[name].ask("flops")))
        attempt(name, lambda: [modes[name].ask("train", 2), modes[name].ask("sample", 2)])
    for _ in range(args.rounds):
        report = ours_train(args, preset, batch, precision)
        rates["ours", "train"].append(batch / report["train_step_ms"] * 1e3)
        memory["ours"] = (report.get("gpu_memory_mib"), report.get("gpu_reserved_mib"))
        few, many = (ours_sample(args, run_dir, batch, precision, n) for n in (1, 3))
        rates["ours", "sample"].append(2 * batch / (many - few))
        for name in args.modes:
            attempt(name, lambda: of_mode(name))
    for mode in modes.values():
        mode.close()
    alive = [name for name in args.modes if name not in dead]
    for what in ("train", "sample"):
        print(row(preset, batch, precision, what, args.modes, alive, rates, memory, about), flush=True)
    return about.get("gpu", "no mode of PyTorch ran")


def row(preset, batch, precision, what, modes, alive, rates, memory, about):
    """The line of the table of training or sampling of one case."""
    median = {who: statistics.median(rates[who, what]) for who in (*alive, "ours")}
    cells = [f"{preset}, {batch}", precision, what]
    cells += [f"{median[mode]:.1f}" if mode in alive else "died" for mode in modes]
    cells.append(f"{median['ours']:.1f}")
    if not alive:
        return "| " + " | ".join([*cells, "", "", ""]) + " |"
    best = max(alive, key=median.get)
    ratios = [own / theirs for own, theirs in zip(rates["ours", what], rates[best, what])]
    cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {best})")
    peak = next((of[precision] for name, of in PEAK.items() if name in about["gpu"]), None)
    share = about["flops"] / batch / peak * 100 if peak and what == "train" else None
    cells.append(f"{share * median['ours']:.0f}% / {share * median[best]:.0f}%" if share else "")
    held = [memory[who] for who in ("ours", best)]
    known = what == "train" and all(amount is not None for pair in held for amount in pair)
    cells.append(" / ".join(f"{used:.0f} ({kept:.0f})" for used, kept in held) if known else "")
    return "| " + " | ".join(cells) + " |"


def idle_share(trace):
    """The share of time, after the first half, in which no operation of a trace is running. `trace` is the CSV of
    `nsys stats --report cuda_gpu_trace`."""
    rows = csv.DictReader(io.StringIO(trace))
    spans = sorted((float(of["Start (ns)"]), float(of["Start (ns)"]) + float(of["Duration (ns)"])) for of in rows)
    spans = spans[len(spans) // 2 :]
    busy, end = 0.0, spans[0][0]
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return 1 - busy / (end - spans[0][0])


def profile(args, preset, batch, precision):
    """Prints what Nsight Systems measures of a training."""
    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "report"
        run("nsys", "profile", "--trace=cuda", "-o", out, *train_command(args, preset, batch, precision))
        report = f"{out}.nsys-rep"
        stats = lambda name: run("nsys", "stats", "-q", "--format", "csv", "--report", name, report)
        idle = idle_share(stats("cuda_gpu_trace"))
        print(f"\n{preset}, {batch}, {precision}: the GPU is idle {idle:.0%} of the time\n")
        print("| share of GPU time | calls | mean µs | kernel |\n| --- | --- | --- | --- |")
        for of in list(csv.DictReader(io.StringIO(stats("cuda_gpu_kern_sum"))))[:15]:
            mean = float(of["Avg (ns)"]) / 1e3
            print(f"| {of['Time (%)']}% | {of['Instances']} | {mean:.1f} | {of['Name'][:80]} |")


def main():
    if sys.argv[1:2] == ["--worker"]:
        mode, precision, config, batch, device = sys.argv[2:]
        return worker(mode, precision, json.loads(config), int(batch), device)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = [f"{preset}:{batch}" for preset, batch in CASES]
    parser.add_argument("--cases", nargs="+", metavar="PRESET:BATCH", default=cases)
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "tf32"), default=["bf16", "tf32"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="training steps of each program in a round")
    parser.add_argument("--sampling-steps", type=int, default=50)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--cuda-graph", action="store_true", help="train here with train.cuda_graph = true")
    parser.add_argument("--nsys", action="store_true", help="profile a training with Nsight Systems")
    parser.add_argument("--data", default="digits", help="any images: one step is trained on them")
    parser.add_argument("--train", default=ROOT / "target" / "release" / "ddpm-train")
    parser.add_argument("--sample", default=ROOT / "target" / "release" / "ddpm-sample")
    args = parser.parse_args()
    if args.nsys and not shutil.which("nsys"):
        sys.exit("--nsys: nsys is not on the PATH; install Nsight Systems")
    titles = ["preset, batch", "precision", "", *(f"PyTorch {mode}" for mode in args.modes), "here"]
    titles += ["ratio to the best", "of peak, here / best", "MiB, here / best"]
    print("Images per second.\n\n| " + " | ".join(titles) + " |\n" + "| --- " * len(titles) + "|", flush=True)
    gpu = None
    with tempfile.TemporaryDirectory() as work:
        for preset in dict.fromkeys(case.split(":")[0] for case in args.cases):
            run_dir = untrained(args, preset, pathlib.Path(work) / preset)
            batches = [int(case.split(":")[1]) for case in args.cases if case.split(":")[0] == preset]
            for batch in batches:
                for precision in args.precisions:
                    gpu = compare(args, preset, batch, precision, run_dir)
                    if args.nsys:
                        profile(args, preset, batch, precision)
    print(f"\n{gpu}")


if __name__ == "__main__":
    main()
