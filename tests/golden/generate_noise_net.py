"""Writes noise_net/*.safetensors: the network on PyTorch, with every gradient. See README.md."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from article_net import NoiseNet
from safetensors.torch import save_file

DEFAULTS = dict(attention_heads=2, attention_head_channels=8, attention_residual=True, norm_groups=4, dropout=0.0)


def config(channels, image_size, base_channels, channel_multipliers, attention_resolutions, **other):
    own = dict(channels=channels, image_size=image_size, base_channels=base_channels)
    own |= dict(channel_multipliers=channel_multipliers, attention_resolutions=attention_resolutions)
    return DEFAULTS | own | other


# name: (configuration, timesteps). The number of timesteps is the batch size.
CASES = {
    "grey": (config(1, [8, 8], 8, [1, 2], []), [0.0, 17.0, 999.0]),
    "colour": (config(3, [8, 8], 8, [1, 2], [8]), [500.0, 1.0]),
    "rgba": (config(4, [6, 6], 8, [2, 1], []), [3.0, 998.0]),
    "non_square": (config(1, [4, 12], 8, [1, 1, 2], [6]), [250.0, 751.0]),
    "batch_of_one": (config(3, [4, 4], 8, [1], [4], attention_heads=4, attention_head_channels=32), [42.0]),
    "attention_at_two_levels": (config(1, [8, 8], 8, [1, 2], [8, 4]), [999.0, 0.0]),
    "without_attention_residual": (config(3, [8, 8], 8, [1, 1], [8], attention_residual=False), [12.0, 345.0]),
}

SIZES = [
    (config(3, [64, 64], 64, [1, 2, 4, 8, 16], [16], attention_heads=4, attention_head_channels=32), 132_864_579),
    (config(3, [32, 32], 64, [1, 2, 4, 8], [16], attention_heads=4, attention_head_channels=32), 34_295_811),
    (config(1, [32, 32], 32, [1, 2, 4], [16], attention_heads=4, attention_head_channels=32), 2_380_161),
    (config(1, [8, 8], 32, [1, 2], [16], attention_heads=4, attention_head_channels=32), 698_209),
]


def write(name, case, t, seed):
    torch.manual_seed(seed)
    net = NoiseNet(case)
    for parameter_name, parameter in net.named_parameters():
        if ".norm." in parameter_name:
            # The initial ones and zeros would hide an exchanged scale and shift.
            parameter.data += 0.3 * torch.randn_like(parameter)
    # f32 values and f64 arithmetic, so that the golden results are free of the rounding errors of f32.
    net = net.double()
    shape = (len(t), case["channels"], *case["image_size"])
    x, eps = (torch.randn(shape).double() for _ in range(2))
    x.requires_grad_(True)
    eps_hat = net(x, torch.tensor(t, dtype=torch.float64))
    loss = F.mse_loss(eps_hat, eps)
    loss.backward()
    tensors = {f"param.{n}": p.data for n, p in net.named_parameters()}
    tensors |= {f"grad.{n}": p.grad for n, p in net.named_parameters()}
    tensors |= dict(x=x.data, t=torch.tensor(t), eps=eps, eps_hat=eps_hat.data, loss=loss.data, grad_x=x.grad)
    path = Path(__file__).parent / "noise_net" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {n: v.float().contiguous() for n, v in tensors.items()}
    save_file(tensors, path, metadata={"config": json.dumps(case)})
    print(f"{path.name}: {sum(p.numel() for p in net.parameters())} parameters, {path.stat().st_size / 1e3:.0f} kB")


def main():
    torch.set_num_threads(1)
    for case, expected in SIZES:
        with torch.device("meta"):
            found = sum(p.numel() for p in NoiseNet(case).parameters())
        assert found == expected, (case, found, expected)
    for seed, (name, (case, t)) in enumerate(CASES.items()):
        write(name, case, t, seed)


if __name__ == "__main__":
    main()
