"""Writes unet2d/*.safetensors: diffusers' UNet2DModel, with every gradient. See README.md."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from safetensors.torch import save_file

PLAIN, ATTEND = ("DownBlock2D", "UpBlock2D"), ("AttnDownBlock2D", "AttnUpBlock2D")
BY_BLOCK = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")


def levels(*kinds):
    """Block types of levels from the highest."""
    return dict(down_block_types=[down for down, _ in kinds], up_block_types=[up for _, up in reversed(kinds)])


HO = dict(freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, attention_head_dim=None, norm_eps=1e-6)

# name: (configuration, timesteps, classes). The number of timesteps is the batch size.
CASES = {
    "ho": (
        HO | dict(sample_size=8, block_out_channels=[8, 16, 16], norm_num_groups=4) | levels(PLAIN, ATTEND, PLAIN),
        [0, 501, 999],
        None,
    ),
    "defaults_of_diffusers": (
        dict(sample_size=8, in_channels=1, out_channels=2, block_out_channels=[8, 16], norm_num_groups=8)
        | levels(PLAIN, ATTEND),
        [17, 300],
        None,
    ),
    "scale_shift_and_table": (
        dict(
            sample_size=8,
            block_out_channels=[8, 12],
            norm_num_groups=4,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=5,
            layers_per_block=1,
            attention_head_dim=4,
        )
        | levels(BY_BLOCK, ATTEND),
        [250, 751],
        torch.tensor([4, 0]),
    ),
    "resampled_by_blocks": (
        dict(
            sample_size=[4, 12],
            block_out_channels=[8, 8, 16],
            norm_num_groups=4,
            downsample_type="resnet",
            upsample_type="resnet",
            mid_block_scale_factor=2**0.5,
            act_fn="gelu",
            layers_per_block=1,
        )
        | levels(ATTEND, ATTEND, PLAIN),
        [42],
        None,
    ),
    "mish_and_class_steps": (
        dict(
            sample_size=[6, 4],
            in_channels=4,
            out_channels=4,
            block_out_channels=[9, 12],
            norm_num_groups=3,
            act_fn="mish",
            class_embed_type="timestep",
            attn_norm_num_groups=2,
            attention_head_dim=5,
        )
        | levels(PLAIN, PLAIN),
        [3, 998],
        torch.tensor([1, 2]),
    ),
    "no_attention_and_identity": (
        dict(
            sample_size=4,
            block_out_channels=[8],
            norm_num_groups=2,
            add_attention=False,
            center_input_sample=True,
            act_fn="relu",
            class_embed_type="identity",
            time_embedding_dim=12,
            layers_per_block=3,
        )
        | levels(PLAIN),
        [12, 345],
        "identity",
    ),
    "no_middle": (
        dict(
            sample_size=8,
            block_out_channels=[8, 8],
            norm_num_groups=4,
            mid_block_type=None,
            act_fn="swish",
            resnet_time_scale_shift="scale_shift",
            attn_norm_num_groups=None,
        )
        | levels(ATTEND, BY_BLOCK),
        [500],
        None,
    ),
    "middle_without_norm": (
        dict(sample_size=4, block_out_channels=[8, 16], norm_num_groups=4, resnet_time_scale_shift="scale_shift")
        | levels(BY_BLOCK, PLAIN),
        [1, 2],
        None,
    ),
}

SIZES = [
    (
        HO | dict(sample_size=32, block_out_channels=[128, 256, 256, 256]) | levels(PLAIN, ATTEND, PLAIN, PLAIN),
        35_746_307,
    ),
    (
        HO
        | dict(sample_size=256, block_out_channels=[128, 128, 256, 256, 512, 512])
        | levels(PLAIN, PLAIN, PLAIN, PLAIN, ATTEND, PLAIN),
        113_673_219,
    ),
]


class Sinusoids(torch.nn.Module):
    """diffusers' Timesteps in f64: its own angles are f32, off by 3e-5 at t = 999."""

    def __init__(self, theirs):
        super().__init__()
        self.theirs = theirs

    def forward(self, t):
        half = self.theirs.num_channels // 2
        exponents = torch.arange(half, dtype=torch.float64) / (half - self.theirs.downscale_freq_shift)
        angles = t.double()[:, None] * 10_000.0**-exponents
        parts = [torch.sin(angles), torch.cos(angles), torch.zeros(len(t), self.theirs.num_channels % 2)]
        if self.theirs.flip_sin_to_cos:
            parts[:2] = parts[1::-1]
        ours = torch.cat(parts, dim=1)
        assert (ours - self.theirs(t)).abs().max() < 1e-4
        return ours


def write(name, case, t, classes, seed):
    torch.manual_seed(seed)
    net = UNet2DModel(**case)
    for parameter_name, parameter in net.named_parameters():
        if "norm" in parameter_name:
            # The initial ones and zeros would hide an exchanged scale and shift.
            parameter.data += 0.3 * torch.randn_like(parameter)
    # f32 values and f64 arithmetic, so that the golden results are free of the rounding errors of f32.
    net = net.double()
    net.time_proj = Sinusoids(net.time_proj)
    size = case["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    shape = (len(t), net.config.in_channels, height, width)
    x, eps = torch.randn(shape).double(), torch.randn(len(t), net.config.out_channels, height, width).double()
    if isinstance(classes, str):
        classes = torch.randn(len(t), case["time_embedding_dim"]).double()
    x.requires_grad_(True)
    eps_hat = net(x, torch.tensor(t), classes).sample
    loss = F.mse_loss(eps_hat, eps)
    loss.backward()
    tensors = {f"param.{n}": p.data for n, p in net.named_parameters()}
    tensors |= {f"grad.{n}": p.grad for n, p in net.named_parameters()}
    tensors |= dict(x=x.data, t=torch.tensor(t), eps=eps, eps_hat=eps_hat.data, loss=loss.data, grad_x=x.grad)
    if classes is not None:
        tensors["classes"] = classes
    path = Path(__file__).parent / "unet2d" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {n: v.float().contiguous() for n, v in tensors.items()}
    config = {key: value for key, value in net.config.items() if not key.startswith("_")}
    save_file(tensors, path, metadata={"config": json.dumps(config)})
    print(f"{path.name}: {sum(p.numel() for p in net.parameters())} parameters, {path.stat().st_size / 1e3:.0f} kB")


def main():
    torch.set_num_threads(1)
    for case, expected in SIZES:
        with torch.device("meta"):
            found = sum(p.numel() for p in UNet2DModel(**case).parameters())
        assert found == expected, (case, found, expected)
    for seed, (name, (case, t, classes)) in enumerate(CASES.items()):
        write(name, case, t, classes, seed)


if __name__ == "__main__":
    main()
