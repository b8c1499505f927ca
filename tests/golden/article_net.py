"""The article's NoiseNet in PyTorch, with the corrections that docs/math.md lists: the reference for the golden files.

Module names are the article's, so that state_dict() has the names that ddpm-unet reads.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Sinusoids(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.half = width // 2

    def forward(self, t):
        steps = torch.arange(self.half, dtype=t.dtype, device=t.device)
        angles = t[:, None] * torch.exp(-math.log(10000.0) * steps / (self.half - 1))[None, :]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ConvBlock(nn.Module):
    def __init__(self, channels_in, channels_out, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels_out)
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)

    def forward(self, x):
        return F.silu(self.norm(self.conv(x)))


class ResnetBlock(nn.Module):
    def __init__(self, channels_in, channels_out, config):
        super().__init__()
        self.time_fc = nn.Linear(4 * config["base_channels"], channels_in)
        self.conv1 = ConvBlock(channels_in, channels_out, config["norm_groups"])
        self.conv2 = ConvBlock(channels_out, channels_out, config["norm_groups"])
        same = channels_in == channels_out
        self.conv_res = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, time):
        timed = x + self.time_fc(F.silu(time))[:, :, None, None]
        return self.conv2(self.conv1(timed)) + self.conv_res(x)


class Attention(nn.Module):
    def __init__(self, channels, config):
        super().__init__()
        self.heads, self.head_channels = config["attention_heads"], config["attention_head_channels"]
        self.residual = config["attention_residual"]
        hidden = self.heads * self.head_channels
        self.norm = nn.GroupNorm(1, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * hidden, 1, bias=False)
        self.to_out = nn.Conv2d(hidden, channels, 1)

    def forward(self, x):
        batch, _, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, self.head_channels, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        out = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        out = self.to_out(out.reshape(batch, -1, height, width))
        return out + x if self.residual else out


class Downsample(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        # PixelUnshuffle's channel order is (c p1 p2), which is the article's.
        self.model = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels_in, channels_out, 1))

    def forward(self, x):
        return self.model(x)


class Upsample(nn.Module):
    def __init__(self, channels_in, channels_out):
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.model = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)

    def forward(self, x):
        return self.model(x)


class DownBlock(nn.Module):
    def __init__(self, channels_in, channels_out, attention, lowest, config):
        super().__init__()
        self.block1 = ResnetBlock(channels_in, channels_in, config)
        self.block2 = ResnetBlock(channels_in, channels_in, config)
        self.attn = Attention(channels_in, config) if attention else nn.Identity()
        same_size = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.ds = same_size if lowest else Downsample(channels_in, channels_out)

    def forward(self, x, time, skips):
        x = self.block1(x, time)
        skips.append(x)
        x = self.attn(self.block2(x, time))
        skips.append(x)
        return self.ds(x)


class MidBlock(nn.Module):
    def __init__(self, channels, config):
        super().__init__()
        self.conv1 = ResnetBlock(channels, channels, config)
        self.attn = Attention(channels, config)
        self.conv2 = ResnetBlock(channels, channels, config)

    def forward(self, x, time):
        return self.conv2(self.attn(self.conv1(x, time)), time)


class UpBlock(nn.Module):
    def __init__(self, channels_in, channels_out, attention, highest, config):
        super().__init__()
        self.block1 = ResnetBlock(channels_out + channels_in, channels_out, config)
        self.block2 = ResnetBlock(channels_out + channels_in, channels_out, config)
        self.attn = Attention(channels_out, config) if attention else nn.Identity()
        same_size = nn.Conv2d(channels_out, channels_in, 3, padding=1)
        self.us = same_size if highest else Upsample(channels_out, channels_in)

    def forward(self, x, time, skips):
        x = self.block1(torch.cat((x, skips.pop()), dim=1), time)
        x = self.block2(torch.cat((x, skips.pop()), dim=1), time)
        return self.us(self.attn(x))


class NoiseNet(nn.Module):
    """config: the fields of ddpm_unet::NoiseNetConfig, image_size as [height, width]."""

    def __init__(self, config):
        super().__init__()
        base, multipliers = config["base_channels"], config["channel_multipliers"]
        widths = [base] + [base * m for m in multipliers]
        levels, longer = len(multipliers), max(config["image_size"])
        self.time_embedding = nn.Sequential(
            Sinusoids(base), nn.Linear(base, 4 * base), nn.GELU(), nn.Linear(4 * base, 4 * base)
        )
        self.input_conv = nn.Conv2d(config["channels"], base, 7, padding=3)
        attention = [longer >> i in config["attention_resolutions"] for i in range(levels)]
        self.downs = nn.ModuleList(
            DownBlock(widths[i], widths[i + 1], attention[i], i == levels - 1, config) for i in range(levels)
        )
        self.mid = MidBlock(widths[-1], config)
        self.ups = nn.ModuleList(
            UpBlock(widths[i], widths[i + 1], attention[i], i == 0, config) for i in reversed(range(levels))
        )
        self.output_res = ResnetBlock(2 * base, base, config)
        self.output_conv = nn.Conv2d(base, config["channels"], 1)

    def forward(self, x, t):
        time = self.time_embedding(t)
        x = self.input_conv(x)
        skips = [x]
        for down in self.downs:
            x = down(x, time, skips)
        x = self.mid(x, time)
        for up in self.ups:
            x = up(x, time, skips)
        return self.output_conv(self.output_res(torch.cat((x, skips.pop()), dim=1), time))
