"""Writes features/dino_v2.safetensors: features of a small `Dinov2Model` of transformers. See README.md."""

import json
from pathlib import Path

import torch
from formula_weights import formula_images, set_formula_weights
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

MEAN = torch.tensor([0.485, 0.456, 0.406]).double()[None, :, None, None]
STD = torch.tensor([0.229, 0.224, 0.225]).double()[None, :, None, None]


def main():
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=70)
    network = Dinov2Model(config).eval()
    set_formula_weights(network)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors = {}
    network = network.double()
    with torch.inference_mode():
        for size in (70, 42, 98):
            images = (formula_images(2, size, size).double() / 255 - MEAN) / STD
            tensors[f"features_{size}"] = network(images).pooler_output
    tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    path = Path(__file__).parent / "features" / "dino_v2.safetensors"
    save_file(tensors, path, metadata={"config": json.dumps(shapes)})
    print({name: tuple(tensor.shape) for name, tensor in tensors.items()})


if __name__ == "__main__":
    main()
