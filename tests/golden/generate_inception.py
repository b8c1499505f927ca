"""Writes features/inception.safetensors: pytorch-fid's network with the weights of a formula. See README.md."""

from pathlib import Path

import pytorch_fid.inception as reference
import torch
import torchvision
from formula_weights import formula, formula_images
from safetensors.torch import save_file


def state_dict(*_, **__):
    network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    named = network.state_dict().items()
    return {n: formula(n, tuple(t.shape)) if t.is_floating_point() else t for n, t in named}


def main():
    torch.manual_seed(0)
    reference.load_state_dict_from_url = state_dict
    # The images have the size of the network, so nothing is resized.
    network = reference.InceptionV3(output_blocks=[0, 1, 2, 3], resize_input=True).eval().double()
    plain = reference.fid_inception_v3().double()
    with torch.inference_mode():
        maps = network(formula_images(2, 299, 299).double() / 255)
        features = [m.mean((2, 3)) for m in maps]
        logits = plain.fc(features[3])
        tensors = {str(f.shape[1]): f for f in features} | {"logits": logits, "biasless": logits - plain.fc.bias}
    tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, Path(__file__).parent / "features" / "inception.safetensors")
    print({name: (tuple(t.shape), float(t.abs().max()), float(t.std(0).mean())) for name, t in tensors.items()})


if __name__ == "__main__":
    main()
