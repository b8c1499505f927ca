#!/usr/bin/env python3
"""ddpm-train, ddpm-sample and PyTorch side by side on one GPU: the same network and batch, in one run.

    pip install -r benches/requirements.txt
    cargo build --release -p ddpm-train -p ddpm-sample --features cuda
    python benches/gpu_vs_pytorch.py

A step is forward, MSE, backward, clipping by the global norm, Adam and the exponential moving average, on both
sides. PyTorch runs in eager mode, with channels_last, and compiled (with channels_last too), each in a process of
its own that waits while the others are timed. PyTorch's bf16 is autocast over f32 weights, and its Adam is the
fused one. The programs take turns: the time of each is its median over all rounds. Sampling is DDIM with the whole
network, measured in images per second without the start of the programs.

`--device cpu` tests the script itself on a machine without a GPU.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import vs_pytorch

ROOT = vs_pytorch.ROOT
CASES = [("cifar10", 128), ("cifar10", 512), ("article", 32)]
MODES = vs_pytorch.MODES
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

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    model, averaged = NoiseNet(config).to(device), NoiseNet(config).to(device)
    height, width = config["image_size"]
    x = torch.randn(batch, config["channels"], height, width, device=device).clamp(-1, 1)
    t = torch.full((batch,), 500.0, device=device)
    eps = torch.randn_like(x)
    if mode != "eager":
        model, averaged, x, eps = (v.to(memory_format=torch.channels_last) for v in (model, averaged, x, eps))
    parameters, averages = list(model.parameters()), list(averaged.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-6, fused=device != "cpu")
    trained, sampled = (torch.compile(m) if mode == "compiled" else m for m in (model, averaged))
    narrow = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")

    def step():
        with narrow:
            loss = torch.nn.functional.mse_loss(trained(x, t).float(), eps)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 0.005)

    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=device), 0)

    @torch.inference_mode()
    def sample(steps):
        image = torch.randn_like(x)
        for i in reversed(range(steps)):
            now, before = alpha_bar[i * 1000 // steps], (
                alpha_bar[(i - 1) * 1000 // steps] if i else alpha_bar.new_tensor(1.0)
            )
            with narrow:
                predicted = sampled(image, t.fill_(i * 1000 // steps)).float()
            clean = ((image - (1 - now).sqrt() * predicted) / now.sqrt()).clamp(-1, 1)
            image = before.sqrt() * clean + (1 - before).sqrt() * (image - now.sqrt() * clean) / (1 - now).sqrt()

    def wait():
        if device != "cpu":
            torch.cuda.synchronize()

    for line in sys.stdin:
        what, *n = line.split()
        if what == "flops":
            with FlopCounterMode(display=False) as counter:
                step()
            answer = {
                "flops": counter.get_total_flops(),
                "gpu": torch.cuda.get_device_name() if device != "cpu" else "cpu",
            }
        else:
            step() if what == "train" else sample(2)
            wait()
            start = time.perf_counter()
            for _ in range(int(n[0])) if what == "train" else ():
                step()
            if what == "sample":
                sample(int(n[0]))
            wait()
            memory = torch.cuda.max_memory_reserved() / 2**20 if device != "cpu" else None
            answer = {"seconds": time.perf_counter() - start, "memory_mib": memory}
        print(json.dumps(answer), flush=True)


def run(*command):
    out = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if out.returncode:
        sys.exit(f"{command[0]}: {out.stderr.strip()}")
    return out.stdout


def ours_train(args, preset, batch, precision):
    flags = ["--preset", preset, "--data", "none", "--batch-size", batch, "--device", args.device, "-q"]
    return json.loads(run(args.train, *flags, "--set", f"train.precision={precision}", "--benchmark", args.steps))


def ours_sample(args, run_dir, batch, precision, batches):
    """Seconds that sampling this number of batches takes, including the start of the program."""
    flags = [
        "-n",
        batch * batches,
        "--batch-size",
        batch,
        "--sampler",
        "ddim",
        "--steps",
        args.sampling_steps,
        "--grid-only",
        "-q",
    ]
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        run(args.sample, run_dir, *flags, "--precision", precision, "--device", args.device, "--out", out)
        return time.perf_counter() - start


def untrained(args, preset, where):
    """A run of this preset after one step. The values of its weights do not affect the speed."""
    quiet = ["sample.preview_images=0", "train.sample_every_steps=0", "train.warmup_steps=0"]
    sets = [word for key in quiet for word in ("--set", key)]
    run(
        args.train,
        "--preset",
        preset,
        "--data",
        args.data,
        "--batch-size",
        2,
        "--steps",
        1,
        *sets,
        "--out",
        where,
        "-q",
    )
    return where


def compare(args, preset, batch, precision, run_dir):
    config = vs_pytorch.network(args.train, preset)
    processes = {
        mode: subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--worker",
                mode,
                precision,
                json.dumps(config),
                str(batch),
                args.device.split(":")[0],
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in args.modes
    }

    def ask(mode, *words):
        process = processes[mode]
        process.stdin.write(" ".join(map(str, words)) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    about = ask(args.modes[0], "flops")
    for mode in args.modes:
        ask(mode, "train", 2)
        ask(mode, "sample", 2)
    rates = {(who, what): [] for who in (*args.modes, "ours") for what in ("train", "sample")}
    memory = {}
    for _ in range(args.rounds):
        report = ours_train(args, preset, batch, precision)
        rates["ours", "train"].append(batch / report["train_step_ms"] * 1e3)
        memory["ours"] = report.get("gpu_memory_mib")
        few, many = (ours_sample(args, run_dir, batch, precision, n) for n in (1, 3))
        rates["ours", "sample"].append(2 * batch / (many - few))
        for mode in args.modes:
            answer = ask(mode, "train", args.steps)
            rates[mode, "train"].append(batch * args.steps / answer["seconds"])
            memory[mode] = answer["memory_mib"]
            rates[mode, "sample"].append(batch / ask(mode, "sample", args.sampling_steps)["seconds"])
    for process in processes.values():
        process.stdin.close()
        process.wait()

    peak = next((of[precision] for name, of in PEAK.items() if name in about["gpu"]), None)
    for what in ("train", "sample"):
        median = {who: statistics.median(rates[who, what]) for who in (*args.modes, "ours")}
        best = max(args.modes, key=median.get)
        ratios = [own / theirs for own, theirs in zip(rates["ours", what], rates[best, what])]
        share = f"{about['flops'] / batch * median['ours'] / peak:.0%}" if peak and what == "train" else ""
        held = " / ".join(f"{memory[who]:.0f}" for who in ("ours", best) if memory[who]) if what == "train" else ""
        cells = [
            f"{preset}, {batch}",
            precision,
            what,
            *(f"{median[mode]:.1f}" for mode in args.modes),
            f"{median['ours']:.1f}",
        ]
        cells += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {best})", share, held]
        print("| " + " | ".join(cells) + " |", flush=True)
    return about["gpu"]


def main():
    if sys.argv[1:2] == ["--worker"]:
        mode, precision, config, batch, device = sys.argv[2:]
        return worker(mode, precision, json.loads(config), int(batch), device)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", metavar="PRESET:BATCH", default=[f"{preset}:{batch}" for preset, batch in CASES]
    )
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "tf32"), default=["bf16", "tf32"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="training steps of each program in a round")
    parser.add_argument("--sampling-steps", type=int, default=50)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--data", default="digits", help="any images: one step is trained on them")
    parser.add_argument("--train", default=ROOT / "target" / "release" / "ddpm-train")
    parser.add_argument("--sample", default=ROOT / "target" / "release" / "ddpm-sample")
    args = parser.parse_args()
    titles = [
        "preset, batch",
        "precision",
        "",
        *(f"PyTorch {mode}" for mode in args.modes),
        "here",
        "ratio to the best",
        "of peak",
    ]
    print(
        "Images a second.\n\n| "
        + " | ".join([*titles, "MiB, here / best"])
        + " |\n"
        + "| --- " * (len(titles) + 1)
        + "|"
    )
    gpu = None
    with tempfile.TemporaryDirectory() as work:
        for preset in dict.fromkeys(case.split(":")[0] for case in args.cases):
            run_dir = untrained(args, preset, pathlib.Path(work) / preset)
            for case in args.cases:
                if case.split(":")[0] == preset:
                    for precision in args.precisions:
                        gpu = compare(args, preset, int(case.split(":")[1]), precision, run_dir)
    print(f"\n{gpu}")


if __name__ == "__main__":
    main()
