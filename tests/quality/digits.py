"""Judges sampled digits: are they taken for the requested digits by a classifier that has only seen the real scans?

    ddpm-sample runs/digits -n 100 --save-tensors samples.safetensors
    python tests/quality/digits.py samples.safetensors

The file holds the tensor `samples`, [n, 1, 8, 8] in [-1, 1]. Sample i was requested to be the digit i mod 10, which is
what `ddpm-sample` does without --class; --unconditional is for a model without classes. Exits with 1 if fewer than 80 %
of the samples are classified as the requested digit (any digit) with probability 0.9 or more, or if a digit does not
occur among them.
"""

import argparse
import gzip
import sys
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from sklearn.model_selection import cross_val_predict
from sklearn.svm import SVC

# Of the probability estimates that scikit-learn offers, this one is the least confident about noise. Its removal is
# announced for version 1.11.
warnings.filterwarnings("ignore", message=".*probability.*deprecated", category=FutureWarning)

SCANS = Path(__file__).parents[2] / "crates" / "ddpm-data" / "digits" / "digits.csv.gz"
CONFIDENT, SHARE = 0.9, 0.8


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("--unconditional", action="store_true")
    args = parser.parse_args()
    samples = load_file(args.samples)["samples"].reshape(-1, 64)

    table = np.loadtxt(gzip.open(SCANS), delimiter=",")
    images, labels = table[:, :64] / 8 - 1, table[:, 64].astype(int)
    judge = SVC(probability=True, random_state=0)
    held_out = cross_val_predict(judge, images, labels, cv=5, method="predict_proba")
    judge.fit(images, labels)

    def sure(probabilities):
        return float((probabilities.max(axis=1) >= CONFIDENT).mean())

    def share(some):
        return sure(judge.predict_proba(some))

    noise = np.random.default_rng(0)
    right = (held_out.argmax(axis=1) == labels).mean()
    print(f"judge: {right:.1%} right on held-out scans, sure of {sure(held_out):.1%} of them,")
    print(f"       of {share(noise.uniform(-1, 1, (1000, 64))):.1%} of uniform noise,", end=" ")
    blurred = np.clip(images + 0.5 * noise.standard_normal(images.shape), -1, 1)
    print(f"of {share(blurred):.1%} of the scans with noise of deviation 0.5")

    probabilities = judge.predict_proba(samples)
    found = probabilities.argmax(axis=1)
    counts = np.bincount(found, minlength=10)
    print(f"samples: {len(samples)}, sure of {share(samples):.1%}; of each digit {counts.tolist()}")
    confident = probabilities.max(axis=1) >= CONFIDENT
    if not args.unconditional:
        requested = found == np.arange(len(samples)) % 10
        print(f"         the requested digit: {requested.mean():.1%}, sure of it: {(requested & confident).mean():.1%}")
        confident &= requested
    good = confident.mean() >= SHARE and counts.min() > 0
    print("good enough" if good else "not good enough")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
