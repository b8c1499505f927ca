"""Photographs for golden files: those that scikit-learn ships, reduced and cut to squares."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images


def photographs(size):
    """[2, 3, size, size] of 8-bit values as float32."""
    images = []
    for image in load_sample_images().images:
        image = Image.fromarray(image)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
        images.append(np.asarray(image).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(images).astype(np.float32))
