#!/usr/bin/python3
"""Writes untrained networks for MNIST as TorchScript: a small CNN and a small transformer encoder that reads rows.

usage: mnist_networks.py FOLDER

FOLDER/mnist_cnn.pt is trained by configs/mnist_cnn.json, FOLDER/mnist_transformer.pt by configs/mnist_transformer.json.
Inputs are float32 [n, 1, 28, 28], outputs scores [n, 10].
"""
import pathlib
import sys

import torch
from torch import nn


def block(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def cnn():
    """63 thousand parameters."""
    return nn.Sequential(
        *block(1, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(256, 10))


class Transformer(nn.Module):
    """104 thousand parameters: a token a row, two layers of four heads."""

    def __init__(self, width=64):
        super().__init__()
        self.embed = nn.Linear(28, width)
        self.position = nn.Parameter(torch.randn(1, 28, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(self.encoder(self.embed(images.squeeze(1)) + self.position).mean(1))


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("mnist_cnn", cnn), ("mnist_transformer", Transformer)):
        torch.manual_seed(0)
        network = make()
        torch.jit.script(network.eval()).save(folder / f"{name}.pt")
        print(f"{folder / name}.pt: {sum(parameter.numel() for parameter in network.parameters())} parameters")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
