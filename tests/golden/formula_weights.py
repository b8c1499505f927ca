"""Random weights that a formula gives, in Python and in Rust (`ddpm_testkit::formula_tensor`), bit by bit.

Golden files of large networks then hold results only. The values of a tensor are numbers of SplitMix64, seeded with
the FNV-1a hash of the tensor's name, in a range that depends on the name and the shape.
"""

import math

import numpy as np
import torch


def uniform(name, count):
    """`count` numbers in [0, 1), multiples of 2^-24."""
    with np.errstate(over="ignore"):
        seed = np.uint64(0xCBF29CE484222325)
        for byte in name.encode():
            seed = (seed ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        mixed = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(40)).astype(np.float64) / 2**24


def limits(name, shape):
    """The range of a tensor: matrices and kernels keep the variance of a ReLU network, others differ from 0 and 1."""
    if name.endswith("running_var"):
        return 0.5, 1.5
    if len(shape) > 1:
        limit = math.sqrt(6.0 / math.prod(shape[1:]))
        return -limit, limit
    if name.endswith("weight") or "lambda" in name or "gamma" in name:
        return 0.5, 1.5
    return -0.2, 0.2


def formula(name, shape):
    """The tensor of this name and shape, as float32."""
    low, high = limits(name, shape)
    values = low + uniform(name, math.prod(shape)) * (high - low)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def set_formula_weights(module):
    """Replaces all parameters and statistics of a module."""
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(formula(name, tuple(tensor.shape)))
    module.load_state_dict(state)


def formula_images(count, height, width):
    """Images [count, 3, height, width] of 8-bit values as float32: smooth patterns with some noise."""
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    images = np.zeros((count, 3, height, width))
    noise = uniform("images", count * 3 * height * width).reshape(images.shape)
    for i in range(count):
        for color in range(3):
            slope = (x * (i + 1 + color) + y * (2 + 3 * i + color)) % 97
            images[i, color] = np.floor(2.0 * slope + 60.0 * noise[i, color])
    return torch.from_numpy(images.astype(np.float32))
