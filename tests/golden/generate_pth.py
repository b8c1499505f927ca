"""Writes features/*.pth: tensors as `torch.save` stores them, in both of its formats. See README.md."""

from collections import OrderedDict
from pathlib import Path

import torch


def main():
    folder = Path(__file__).parent / "features"
    matrix = torch.arange(6.0).view(2, 3) / 4
    weights = OrderedDict(
        matrix=matrix,
        transposed=matrix.t(),
        tail=matrix.flatten()[4:],
        parameter=torch.nn.Parameter(torch.tensor([0.5])),
        half=torch.tensor([1.5, -2.0]).half(),
        bfloat16=torch.tensor([1.5, -2.0]).bfloat16(),
        double=torch.tensor([[0.25]]).double(),
        count=torch.tensor(7),
        mask=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
    )
    for name, zipped in (("legacy", False), ("zip", True)):
        torch.save(weights, folder / f"{name}.pth", _use_new_zipfile_serialization=zipped)
        optimizer = {"state": {0: {"moment": torch.ones(3)}}, "lr": 0.1, "betas": (0.9, 0.999), "amsgrad": False}
        checkpoint = {"epoch": 3, "optimizer": optimizer, "state_dict": weights}
        torch.save(checkpoint, folder / f"{name}_checkpoint.pth", _use_new_zipfile_serialization=zipped)


if __name__ == "__main__":
    main()
