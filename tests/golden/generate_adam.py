"""Writes adam.safetensors: torch.optim.Adam, AdamW and clip_grad_norm_ in float64. See README.md."""

from pathlib import Path

import torch
from safetensors.torch import save_file

STEPS, LEARNING_RATE = 10, 1e-2
OPTIMIZERS = {
    "adam": (torch.optim.Adam, 0.0),
    "adam_decay": (torch.optim.Adam, 0.01),
    "adamw": (torch.optim.AdamW, 0.01),
}


def main():
    torch.manual_seed(0)
    start = torch.randn(5, 3)
    gradients = torch.randn(STEPS, 5, 3)
    tensors = dict(start=start, gradients=gradients)
    for name, (optimizer, decay) in OPTIMIZERS.items():
        parameter = torch.nn.Parameter(start.double())
        optim = optimizer([parameter], lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
        path = []
        for gradient in gradients:
            parameter.grad = gradient.double()
            optim.step()
            path.append(parameter.detach().clone())
        tensors[name] = torch.stack(path)
    for max_norm in (1.0, 100.0):
        parameter = torch.nn.Parameter(start.double())
        parameter.grad = gradients[0].double()
        norm = torch.nn.utils.clip_grad_norm_([parameter], max_norm)
        tensors[f"clip_{max_norm:.0f}"] = parameter.grad.clone()
        tensors["norm"] = norm.reshape(1)
    path = Path(__file__).parent / "adam.safetensors"
    save_file({n: t.float().contiguous() for n, t in tensors.items()}, path)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
