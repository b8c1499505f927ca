"""Judges sampled MNIST digits: are they the requested digits, for a classifier that was trained on the real scans?

    ddpm-sample runs/mnist -n 1000 --guidance 2 --save-tensors samples.safetensors
    python tests/quality/mnist.py samples.safetensors MNIST

MNIST is the folder of the IDX files. The file of samples holds the tensor `samples`, [n, 1, 32, 32] in [-1, 1], of a
model that was trained on padded images; sample i was requested to be the digit i mod 10, which is what `ddpm-sample`
does without --class. Exits with 1 if fewer than 97 % of the samples are classified as the requested digit.
"""

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

SHARE = 0.97


def read(folder):
    images = np.frombuffer(gzip.open(folder / "train-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    labels = np.frombuffer(gzip.open(folder / "train-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
    images = torch.from_numpy(images.copy()).reshape(-1, 1, 28, 28).float() / 127.5 - 1
    return images, torch.from_numpy(labels.copy()).long()


def classifier():
    def block(channels_in, channels):
        return [nn.Conv2d(channels_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 32), *block(32, 64), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 49, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("mnist", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    images, labels = read(args.mnist)
    held_out = slice(50_000, None)
    judge = classifier()
    epochs, batch = 2, 128
    steps = epochs * (50_000 // batch)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in range(steps):
        rows = torch.randint(50_000, (batch,))
        loss = nn.functional.cross_entropy(judge(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    judge.eval()

    def classify(some):
        with torch.no_grad():
            return torch.cat([judge(part).softmax(1) for part in some.split(1000)])

    right = (classify(images[held_out]).argmax(1) == labels[held_out]).float().mean().item()
    samples = torch.from_numpy(load_file(args.samples)["samples"])[:, :, 2:-2, 2:-2]
    found = classify(samples)
    requested = torch.arange(len(samples)) % 10
    share = (found.argmax(1) == requested).float().mean().item()
    sure = (found.gather(1, requested[:, None]) >= 0.9).float().mean().item()
    print(f"judge: {right:.2%} right on {len(labels) - 50_000:,} held-out scans")
    print(f"samples: {len(samples):,}, the requested digit: {share:.1%}, with probability 0.9 or more: {sure:.1%}")
    good = share >= SHARE
    print("good enough" if good else "not good enough")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
