#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 in static INT8 with one scale a weight, by accuracy tool.

usage: int8_accuracy.py EDGECOMPRESS SHARED OUTPUT [--calibration 256] [--hard]

Rows: quantize_int8 as it is, with the tool, and with one scale for each output channel. --hard: first the channels between the two
convolutions of every residual block are scaled by factors spread over 100x (random, seeded), which the second
convolution undoes: the float network stays what it is.

SHARED holds models/cifar10_resnet20_scripted.pt, data/cifar10_train_4660.npz and cifar10_test_932.npz.
"""
import argparse
import json
import pathlib
import subprocess

import torch

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = {
    "as it is": {},
    "equalize": {"equalize": True},
    "bias_correction": {"bias_correction": True},
    "gptq": {"rounding": "gptq"},
    "adaround": {"rounding": "adaround"},
    "equalize, adaround, bias_correction": {"equalize": True, "rounding": "adaround", "bias_correction": True},
    "one scale a channel": {"per_channel": True},
    "one scale a channel, equalize": {"per_channel": True, "equalize": True},
}
SPREAD = 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--calibration", type=int, default=256, help="samples of the training set")
    parser.add_argument("--hard", action="store_true", help="with channels scaled apart")
    arguments = parser.parse_args()
    shared, output = pathlib.Path(arguments.shared).resolve(), pathlib.Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    model = shared / "models/cifar10_resnet20_scripted.pt"
    if arguments.hard:
        model = make_hard(model, output / "hard.pt")
    print("| tools | right of 932 | SQNR of the outputs, dB | s |\n| --- | --- | --- | --- |")
    for name, options in TOOLS.items():
        record = run(arguments, shared, model, options)
        tools = record["details"].get("accuracy_tools", [])
        gains = ", ".join(f"{tool['tool']} {tool['sqnr_before_db']:.1f} → {tool['sqnr_after_db']:.1f}"
                          + ("" if tool["kept"] else " (taken back)") for tool in tools)
        print(f"| {name} | {record['evaluation']['test']['correct']} | {gains or '–'} | {record['seconds']:.1f} |", flush=True)


def make_hard(path, target):
    """Batch norms and what reads them are scaled, so that folding finds the imbalance."""
    network = torch.jit.load(path)
    tensors = dict(network.named_parameters())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name in [name for name in tensors if name.endswith(".bn1.weight") and name.count(".") > 2]:
            block = name[:-len("bn1.weight")]
            factors = SPREAD ** (torch.rand(tensors[name].shape, generator=generator) - 0.5)
            tensors[name] *= factors
            tensors[block + "bn1.bias"] *= factors
            tensors[block + "conv2.weight"] /= factors.reshape(1, -1, 1, 1)
    torch.jit.save(network, target)
    return target


def run(arguments, shared, model, options):
    settings = {
        "data/train/path": f"{shared}/data/cifar10_train_4660.npz",
        "data/test/path": f"{shared}/data/cifar10_test_932.npz",
        "data/calibration/limit": arguments.calibration,
        "data/validation/split": 0.05,
        "evaluation/latency/repeats": 1,
        "gates": {},
        "passes": [{"pass": "quantize_int8", "per_channel": False, **options}],
    }
    command = [arguments.edgecompress, "--quiet", "run", "--no-cache", HERE / "cifar10.json", "--overwrite",
               "--output", arguments.output, "--model", model]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((pathlib.Path(arguments.output) / "report.json").read_text())["steps"][-1]


if __name__ == "__main__":
    main()
