#!/usr/bin/python3
"""A transformer encoder and a GRU that read MNIST images row by row: trained by finetune, then in INT8.

usage: mnist.py EDGECOMPRESS SHARED OUTPUT [--networks transformer,gru] [--images 20000]

Stock PyTorch writes each network with random weights; mnist.json trains it. Then each form of quantize_int8 is made of
the trained network, and measured against it. "hard": the transformer with the outliers of large language models: four
channels of what each layer norm gives are 50 times as large, which the weights that read them undo, so that the float
network stays what it is. SHARED holds data/mnist_train.npz and data/mnist_test.npz.
"""
import argparse
import json
import pathlib
import subprocess

import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
FORMS = {
    "dynamic": {"mode": "dynamic"},
    "static": {"mode": "static"},
    "dynamic, portable": {"mode": "dynamic", "portable": True},
    "static, portable": {"mode": "static", "portable": True},
    "auto": {"mode": "auto"},
}
HARD_FORMS = {
    "static": {"mode": "static"},
    "static, smooth_quant 0.5": {"mode": "static", "smooth_quant": 0.5},
    "static, smooth_quant 0.75": {"mode": "static", "smooth_quant": 0.75},
    "auto": {"mode": "auto"},
}
OUTLIER, OUTLIERS = 50, 4


class Transformer(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embed = nn.Linear(28, width)
        self.position = nn.Parameter(torch.randn(1, 28, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, dropout=0.0, batch_first=True,
                                           norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=3)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(self.encoder(self.embed(images.squeeze(1)) + self.position).mean(1))


class Gru(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.gru = nn.GRU(28, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        return self.head(self.gru(images.squeeze(1))[0][:, -1])


NETWORKS = {"transformer": Transformer, "gru": Gru}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--networks", default="transformer,gru")
    parser.add_argument("--images", type=int, default=20000, help="of the training set")
    arguments = parser.parse_args()
    print("| network | form | right of 10000 | points lost | file / trained | speed-up |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.networks.split(","):
        model = pathlib.Path(arguments.output) / f"{name}.pt"
        model.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.jit.script(NETWORKS[name]().eval()).save(model)
        trained = run(arguments, model, name, json.loads((HERE / "mnist.json").read_text())["passes"][0])
        quantize(arguments, trained / "model.pt", name, FORMS)
        if name == "transformer":
            quantize(arguments, make_hard(trained / "model.pt", model.with_name("hard.pt")), "hard", HARD_FORMS)


def quantize(arguments, model, name, forms):
    for form, options in forms.items():
        output = run(arguments, model, f"{name}, {form}", {"pass": "quantize_int8", **options})
        report = json.loads((output / "report.json").read_text())
        step = report["steps"][0]
        print_row(name, form, report["baseline"], step["evaluation"])
        for tool in step["details"].get("accuracy_tools", []):
            print(f"<!-- {name}, {form}: {tool} -->", flush=True)


def make_hard(path, target):
    network = torch.jit.load(path)
    tensors = dict(network.named_parameters())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in tensors.items():
            if not name.endswith(("norm1.weight", "norm2.weight")):
                continue
            layer, norm = name.rsplit(".", 2)[0], name.rsplit(".", 2)[1]
            reader = f"{layer}.self_attn.in_proj_weight" if norm == "norm1" else f"{layer}.linear1.weight"
            channels = torch.randperm(len(weight), generator=generator)[:OUTLIERS]
            for tensor in (weight, tensors[f"{layer}.{norm}.bias"]):
                tensor[channels] *= OUTLIER
            tensors[reader][:, channels] /= OUTLIER
    network.save(target)
    return target


def run(arguments, model, name, step):
    """The folder that a run of one pass wrote."""
    output = pathlib.Path(arguments.output) / name.replace(", ", "-")
    data = pathlib.Path(arguments.shared).resolve() / "data"
    settings = {"data/train/path": f"{data}/mnist_train.npz", "data/train/limit": arguments.images,
                "data/test/path": f"{data}/mnist_test.npz", "passes": [step]}
    command = [arguments.edgecompress, "--quiet", "run", "--no-cache", HERE / "mnist.json", "--overwrite", "--model", model,
               "--output", output]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return output


def print_row(name, form, trained, int8):
    before, right = trained["test"]["correct"], int8["test"]["correct"]
    size = int8["size"]["file_bytes"] / trained["size"]["file_bytes"]
    print(f"| {name} | {form} | {before} → {right} | {(before - right) / 100:.2f} | {size:.2f} | "
          f"{int8['speedup']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
