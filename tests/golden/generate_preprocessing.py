"""Writes features/preprocessing.safetensors: images resized by the reference of each preprocessing. See README.md."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from formula_weights import formula_images
from PIL import Image
from safetensors.torch import save_file
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

SIZE = 24
IMAGENET = (torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None])


def tensorflow(images):
    resized = interpolate_bilinear_2d_like_tensorflow1x(images, size=(SIZE, SIZE), align_corners=False)
    return (resized - 128) / 128


def pytorch_fid(images):
    return 2 * F.interpolate(images / 255, size=(SIZE, SIZE), mode="bilinear", align_corners=False) - 1


def pillow(images):
    """As clean-fid resizes: every color of its own, in floating point, cut off at the range of 8 bits."""
    planes = images.flatten(0, 1).numpy()
    planes = [Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for plane in planes]
    resized = np.stack([np.asarray(plane).clip(0, 255) for plane in planes])
    return torch.from_numpy(resized).view(*images.shape[:2], SIZE, SIZE)


def main():
    tensors = {}
    for height, width in [(32, 32), (61, 50), (24, 24), (9, 130)]:
        images = formula_images(1, height, width)
        tensors[f"tensorflow_{height}_{width}"] = tensorflow(images)
        tensors[f"pytorch_fid_{height}_{width}"] = pytorch_fid(images)
        tensors[f"clean_fid_{height}_{width}"] = (pillow(images) - 128) / 128
        tensors[f"imagenet_{height}_{width}"] = (pillow(images) / 255 - IMAGENET[0]) / IMAGENET[1]
    tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, Path(__file__).parent / "features" / "preprocessing.safetensors")


if __name__ == "__main__":
    main()
