"""Writes images.safetensors: JPEG files decoded by Pillow, and an image resized by PyTorch and by Pillow.

    python tests/golden/generate_images.py
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

WIDTH, HEIGHT = 90, 70


def photograph() -> np.ndarray:
    """[height, width, 3] uint8: smooth areas, edges and noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([128 + 90 * np.sin(x / 9), 128 + 90 * np.cos((x + 2 * y) / 13), 2.0 * y + x], axis=-1)
    image[20:40, 30:60] = [250, 10, 60]
    image += random.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def main() -> None:
    pixels = photograph()
    image = Image.fromarray(pixels)
    tensors = {"image": pixels}
    files = {
        "color": jpeg(image, quality=85),
        "no_subsampling": jpeg(image, quality=95, subsampling=0),
        "gray": jpeg(image.convert("L"), quality=85),
        "progressive": jpeg(image, quality=85, progressive=True),
    }
    for name, file in files.items():
        tensors[f"{name}.file"] = np.frombuffer(file, np.uint8)
        for divisor in (1, 2, 4, 8):
            opened = Image.open(io.BytesIO(file))
            # The smallest size that covers the requested one.
            opened.draft(None, (WIDTH // divisor, HEIGHT // divisor))
            decoded = np.asarray(opened)
            tensors[f"{name}.{divisor}"] = np.ascontiguousarray(decoded.reshape(*decoded.shape[:2], -1))

    for name, (width, height) in {"smaller": (31, 20), "larger": (200, 171)}.items():
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
        for mode in ("bilinear", "bicubic"):
            resized = torch.nn.functional.interpolate(planes, (height, width), mode=mode, antialias=True)
            resized = resized.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
            tensors[f"torch.{mode}.{name}"] = resized.contiguous().numpy()
        for mode in ("BILINEAR", "BICUBIC", "LANCZOS", "NEAREST"):
            resized = image.resize((width, height), Image.Resampling[mode])
            tensors[f"pillow.{mode.lower()}.{name}"] = np.asarray(resized)
    save_file(tensors, Path(__file__).parent / "images.safetensors")


if __name__ == "__main__":
    main()
