"""Times the first epoch over a folder of JPEG photographs: ddpm-data against a PyTorch DataLoader with Pillow.

    cargo build -p ddpm-data --example read_images
    python benches/read_photographs.py PHOTOS [--rounds 3] [--size 64]

PHOTOS is a folder of JPEG files; --make N fills it with N synthetic photographs of 12 megapixels first. Both programs
use two workers and take turns in every round. Pillow decodes with draft(), so at a reduced size, and resizes with
bicubic interpolation. Needs benches/requirements.txt.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2


def make_photographs(folder: Path, count: int) -> None:
    """Writes `count` files of noise with the spectrum of photographs, 3 to 4 MB each.

    There are ten scenes, each in ten positions; further files are copies.
    """
    import shutil

    import numpy as np
    from PIL import Image

    width, height = 4000, 3000
    folder.mkdir(parents=True, exist_ok=True)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    written: list[Path] = []
    for scene in range(min(10, -(-count // 10))):
        random = np.random.default_rng(scene)

        def field() -> np.ndarray:
            spectrum = random.standard_normal(frequency.shape) + 1j * random.standard_normal(frequency.shape)
            return np.fft.irfft2(spectrum / frequency**1.3, s=(height, width))

        light, color = field(), field()
        pixels = np.stack([light + 0.3 * k * color for k in (-1, 0, 1)], axis=-1)
        pixels = pixels / pixels.std() * 50 + 128 + random.normal(0, 1.5, pixels.shape)
        pixels = pixels.clip(0, 255).astype(np.uint8)
        for position in range(min(10, count - len(written))):
            path = folder / f"{scene}-{position}.jpg"
            Image.fromarray(np.roll(pixels, (97 * position, 131 * position), (0, 1))).save(path, quality=90)
            written.append(path)
    for number in range(len(written), count):
        shutil.copy(written[number % 100], folder / f"copy-{number}.jpg")


def pytorch_epoch(folder: Path, size: int) -> float:
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    class Photographs(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.paths = sorted(folder.glob("*.jpg"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            image = Image.open(self.paths[index])
            # Twice the target, as Image.thumbnail does and as ddpm-data.
            image.draft("RGB", (2 * size, 2 * size))
            image = image.convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
            resized = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
            return functional.to_tensor(resized) * 2 - 1

    loader = torch.utils.data.DataLoader(Photographs(), batch_size=20, shuffle=True, num_workers=WORKERS)
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def our_epochs(folder: Path, size: int, cache: str | None, epochs: int) -> tuple[list[float], str]:
    program = ROOT / "target/debug/examples/read_images"
    arguments = [str(folder), str(size), str(WORKERS), str(epochs)] + ([cache] if cache else [])
    output = subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout
    lines = output.splitlines()
    return [float(line.split()[2]) for line in lines if line.startswith("epoch")], lines[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--make", type=int, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.make:
        make_photographs(arguments.photos, arguments.make)
    ratios = []
    for round_number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            (first, second), memory = our_epochs(arguments.photos, arguments.size, cache, 2)
        theirs = pytorch_epoch(arguments.photos, arguments.size)
        ratios.append(theirs / first)
        print(
            f"round {round_number + 1}: ours {first:.1f} s, second epoch {second:.2f} s, {memory}; "
            f"PyTorch {theirs:.1f} s; ratio {theirs / first:.2f}",
            flush=True,
        )
    print(f"median ratio of the first epochs, PyTorch to ours: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
