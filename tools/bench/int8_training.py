#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 in INT8 with one weight scale a layer, by training through simulated INT8.

usage: int8_training.py EDGECOMPRESS SHARED OUTPUT [--epochs 1]

The network is made hard first: inside each block, channels are scaled by factors from 0.1 to 10 and the next layer's inputs
by their inverses, which leaves the float function as it was. SHARED holds models/cifar10_resnet20_scripted.pt,
data/cifar10_train_4660.npz and cifar10_test_932.npz.
"""
import argparse
import json
import pathlib
import subprocess

import torch

HERE = pathlib.Path(__file__).resolve().parent
OPTIMIZER = {"name": "adamw", "lr": 1e-4, "weight_decay": 0}
TRAININGS = {
    "calibrated": None,
    "teacher, scales learned": {"teacher": "original", "optimizer": OPTIMIZER},
    "teacher, scales frozen": {"teacher": "original", "optimizer": OPTIMIZER, "learn_scales": False},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    pathlib.Path(arguments.output).mkdir(parents=True, exist_ok=True)
    model = make_imbalanced(arguments)
    print("| training | right of 932 |\n| --- | --- |")
    for name, training in TRAININGS.items():
        print(f"| {name} | {right(arguments, model, training)} |", flush=True)


def make_imbalanced(arguments):
    torch.manual_seed(0)
    model = torch.jit.load(f"{arguments.shared}/models/cifar10_resnet20_scripted.pt")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in parameters.items():
            if name.endswith(".conv2.weight"):
                factors = 10 ** (2 * torch.rand(weight.shape[1]) - 1)
                weight /= factors[:, None, None]
                for part in ("weight", "bias"):
                    parameters[name.replace("conv2.weight", f"bn1.{part}")].mul_(factors)
    path = pathlib.Path(arguments.output) / "imbalanced.pt"
    model.save(path)
    return path


def right(arguments, model, training):
    step = {"pass": "quantize_int8", "per_channel": False}
    if training is not None:
        step["training"] = {"epochs": arguments.epochs, **training}
    data = pathlib.Path(arguments.shared).resolve() / "data"
    settings = {
        "data/train/path": f"{data}/cifar10_train_4660.npz",
        "data/test/path": f"{data}/cifar10_test_932.npz",
        "evaluation/latency/repeats": 1,
        "gates": {},
        "passes": [step],
    }
    output = pathlib.Path(arguments.output) / "run"
    command = [arguments.edgecompress, "--quiet", "run", "--no-cache", HERE / "cifar10.json", "--overwrite", "--output", output,
               "--model", model]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((output / "report.json").read_text())["steps"][0]["evaluation"]["test"]["correct"]


if __name__ == "__main__":
    main()
