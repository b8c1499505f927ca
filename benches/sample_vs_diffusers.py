#!/usr/bin/env python3
"""Time from process start to PNG files: `ddpm-sample` and diffusers on the same pipeline.

    python -m venv /tmp/diffusers && /tmp/diffusers/bin/pip install -r tests/golden/requirements.txt pillow
    cargo build -p ddpm-sample && /tmp/diffusers/bin/python benches/sample_vs_diffusers.py

The network is the one of Ho et al. 2020 for CIFAR-10 (35.7 million parameters) with random weights, saved by
diffusers as a pipeline: the time does not depend on the values. Both programs sample with DDIM in 10 steps.
They take turns, and each run is a new process that loads the pipeline, samples, and writes one PNG per image.
The table holds medians over the rounds, and the median of the ratios of each round with the smallest and the
largest.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# google/ddpm-cifar10-32 on the Hugging Face Hub.
NETWORK = dict(
    sample_size=32,
    in_channels=3,
    out_channels=3,
    layers_per_block=2,
    block_out_channels=(128, 256, 256, 256),
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None,
    downsample_padding=0,
    flip_sin_to_cos=False,
    freq_shift=1,
    norm_eps=1e-6,
)


def save_pipeline(path):
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    scheduler = DDPMScheduler(variance_type="fixed_large", clip_sample=True)
    DDPMPipeline(UNet2DModel(**NETWORK), scheduler).save_pretrained(path)


def sample_with_diffusers(pipeline, images, steps, threads, out):
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler

    torch.set_num_threads(threads)
    pipe = DDIMPipeline.from_pretrained(pipeline)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    made = pipe(batch_size=images, num_inference_steps=steps, eta=0.0, generator=generator).images
    out.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(made):
        image.save(out / f"{i:06}.png")


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    if sys.argv[1:2] == ["--worker"]:
        pipeline, images, steps, threads, out = sys.argv[2:]
        return sample_with_diffusers(pipeline, int(images), int(steps), int(threads), pathlib.Path(out))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=str(ROOT / "target" / "debug" / "ddpm-sample"))
    args = parser.parse_args()
    print("| images | ddpm-sample, s | diffusers, s | ratio |\n| --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pipeline = folder / "pipeline"
        save_pipeline(pipeline)
        for images in args.images:
            own = [args.program, str(pipeline), "-n", str(images), "--sampler", "ddim", "--steps", str(args.steps)]
            own += ["--threads", str(args.threads), "--out", str(folder / "own"), "-q"]
            other = [sys.executable, __file__, "--worker", str(pipeline), str(images), str(args.steps)]
            other += [str(args.threads), str(folder / "diffusers")]
            times = {"own": [], "other": []}
            # The first round only fills the caches of the file system.
            for counts in [False] + [True] * args.rounds:
                for who, command in (("own", own), ("other", other)):
                    seconds = timed(command)
                    if counts:
                        times[who].append(seconds)
            ratios = [theirs / ours for theirs, ours in zip(times["other"], times["own"])]
            own_s, other_s = statistics.median(times["own"]), statistics.median(times["other"])
            ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            print(f"| {images} | {own_s:.2f} | {other_s:.2f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
