#!/usr/bin/env python3
"""ddpm-train and PyTorch side by side: the same network, batch and threads, f32, in one run.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install -r benches/requirements.txt
    cargo build -p ddpm-train && /tmp/torch/bin/python benches/vs_pytorch.py

A step is forward, MSE, backward, clipping by the global norm and Adam; ddpm-train also updates the exponential moving
average. PyTorch runs in eager mode, with channels_last, and compiled, each in a process of its own that waits while
the others are timed. The programs take turns: the time of each is its median over all rounds, so that a temporary
slowdown of the machine affects all of them. With `--baseline`, another build of ddpm-train takes its turns too.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = {"digits": 128, "mnist": 64, "cifar10": 32}
MODES = ("eager", "channels_last", "compiled")


def worker(mode, config, batch, threads):
    """Runs the commands on standard input: `train N` or `predict N`, where N is a number of repetitions."""
    import time

    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    import torch
    from article_net import NoiseNet

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = NoiseNet(config)
    height, width = config["image_size"]
    x = torch.randn(batch, config["channels"], height, width).clamp(-1, 1)
    t = torch.full((batch,), 500.0)
    eps = torch.randn_like(x)
    if mode == "channels_last":
        model, x, eps = (v.to(memory_format=torch.channels_last) for v in (model, x, eps))
    parameters = list(model.parameters())
    adam = torch.optim.Adam(parameters, lr=1e-6)
    run = torch.compile(model) if mode == "compiled" else model

    def train():
        loss = torch.nn.functional.mse_loss(run(x, t), eps)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        loss.item()

    def predict():
        with torch.inference_mode():
            run(x, t)

    for line in sys.stdin:
        what, n = line.split()
        step = {"train": train, "predict": predict}[what]
        step()
        times = []
        for _ in range(int(n)):
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
        status = pathlib.Path("/proc/self/status")
        peak = (
            [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")] if status.exists() else []
        )
        peak = float(peak[0].split()[1]) / 1024 if peak else None
        print(json.dumps({"ms": times, "peak_rss_mib": peak}), flush=True)


def ours(program, preset, batch, threads, steps):
    flags = ["--preset", preset, "--data", "none", "--batch-size", str(batch), "--threads", str(threads)]
    out = subprocess.run([program, *flags, "--benchmark", str(steps), "-q"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def network(program, preset):
    out = subprocess.run(
        [program, "--preset", preset, "--data", "none", "--dry-run"], capture_output=True, text=True, check=True
    )
    config = tomllib.loads(out.stdout)["model"]
    size = config["image_size"]
    config["image_size"] = size if isinstance(size, list) else [size, size]
    return config


def compare(args, preset, batch):
    config = network(args.program, preset)
    processes = {
        mode: subprocess.Popen(
            [sys.executable, __file__, "--worker", mode, json.dumps(config), str(batch), str(args.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in MODES
    }

    def ask(mode, what, n):
        process = processes[mode]
        process.stdin.write(f"{what} {n}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    for mode in MODES:
        for what in ("train", "predict"):
            ask(mode, what, 1)
    programs = {"ours": args.program} | ({"baseline": args.baseline} if args.baseline else {})
    times = {(who, what): [] for who in (*MODES, *programs) for what in ("train", "predict")}
    peak = {}
    for _ in range(args.rounds):
        for who, program in programs.items():
            report = ours(program, preset, batch, args.threads, args.steps)
            times[who, "train"].append(report["train_step_ms"])
            times[who, "predict"].append(report["predict_ms"])
            peak[who] = max(peak.get(who, 0), report["peak_rss_mib"] or 0)
        for mode in MODES:
            for what in ("train", "predict"):
                answer = ask(mode, what, args.steps)
                times[mode, what].append(statistics.median(answer["ms"]))
                peak[mode] = answer["peak_rss_mib"]
    for process in processes.values():
        process.stdin.close()
        process.wait()

    for what in ("predict", "train"):
        median = {who: statistics.median(times[who, what]) for who in (*MODES, "ours")}
        best = min(MODES, key=median.get)

        def ratio(who):
            ratios = [theirs / own for theirs, own in zip(times[who, what], times["ours", what])]
            return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

        memory = f"{peak['ours']:.0f} / {peak['eager']:.0f}" if what == "train" else ""
        cells = [f"{preset}, {batch}", what, *(f"{median[mode]:.1f}" for mode in MODES), f"{median['ours']:.1f}"]
        cells += [f"{ratio(best)}, {best}", memory] + ([ratio("baseline")] if args.baseline else [])
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    if sys.argv[1:2] == ["--worker"]:
        mode, config, batch, threads = sys.argv[2:]
        return worker(mode, json.loads(config), int(batch), int(threads))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--batch", type=int, help="in place of each preset's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="steps of each program in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=str(ROOT / "target" / "debug" / "ddpm-train"))
    parser.add_argument("--baseline", help="another build of ddpm-train, to be compared with --program")
    args = parser.parse_args()
    titles = [
        "preset, batch",
        "",
        *(f"PyTorch {mode}, ms" for mode in MODES),
        "here, ms",
        "ratio to the best",
        "peak MiB, here / eager",
        *(["baseline / here"] if args.baseline else []),
    ]
    print("| " + " | ".join(titles) + " |\n" + "| --- " * len(titles) + "|", flush=True)
    for preset in args.presets:
        compare(args, preset, args.batch or PRESETS[preset])


if __name__ == "__main__":
    main()
