#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 with layers of low rank, and latency of resnet18.

usage: low_rank.py alone|recovery EDGECOMPRESS SHARED OUTPUT [--calibration 256] [--traced]
       low_rank.py latency EDGECOMPRESS OUTPUT

alone: low_rank at 0.7 and 0.5 of the MACs by each scheme, with and without calibration data, no training and no labels.
recovery: then two epochs of finetune, or of distill from the original; beside it prune_channels at the same MACs.
latency: torchvision's resnet18 (random weights) at 0.5 of the MACs by each scheme, against the original in its fastest form.

SHARED holds models/cifar10_resnet20_scripted.pt, data/cifar10_train_4660.npz and cifar10_test_932.npz.
"""
import argparse
import json
import pathlib
import subprocess

from pruning import alone, print_row, removal, right, run, share_left

SCHEMES = ("channel", "spatial", "auto")
TRAININGS = ({"pass": "finetune", "epochs": 2, "optimizer": {"lr": 0.001}},
             {"pass": "distill", "teacher": "original", "epochs": 2, "optimizer": {"lr": 0.005}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whats = parser.add_subparsers(dest="what", required=True)
    for what in ("alone", "recovery", "latency"):
        sub = whats.add_parser(what)
        sub.add_argument("edgecompress")
        if what != "latency":
            sub.add_argument("shared")
            sub.add_argument("--calibration", type=int, default=256, help="samples of the training set")
            sub.add_argument("--traced", action="store_true", help="the traced model instead of the scripted one")
        sub.add_argument("output")
    arguments = parser.parse_args()
    {"alone": factored_alone, "recovery": recovery, "latency": latency}[arguments.what](arguments)


def factorization(macs, scheme="auto", data_aware=True):
    return {"pass": "low_rank", "macs": macs, "scheme": scheme, "data_aware": data_aware}


def factored_alone(arguments):
    kinds = [(macs, scheme) for macs in (0.7, 0.5) for scheme in SCHEMES]
    records = iter(run(arguments, alone(factorization(macs, scheme, data_aware)
                                        for macs, scheme in kinds for data_aware in (False, True))))
    print_row("MACs", ["scheme", "MACs left", "parameters left", "weights alone", "calibrated", "s"])
    print_row("---", ["---"] * 6)
    for macs, scheme in kinds:
        plain, aware = next(records), next(records)
        left = [f"{share_left(aware, cost):.1f} %" for cost in ("macs", "parameters")]
        print_row(macs, [scheme, *left, right(plain), right(aware), f"{aware['seconds']:.1f}"])


def recovery(arguments):
    print_row("MACs", ["step", "right", *(training["pass"] for training in TRAININGS)])
    print_row("---", ["---"] * 4)
    for macs in (0.7, 0.5):
        steps = {"low_rank, weights alone": factorization(macs, data_aware=False),
                 "low_rank": factorization(macs),
                 "prune_channels": removal(macs, "isomorphic", repair=True)}
        for name, step in steps.items():
            records = [run(arguments, [step, training]) for training in TRAININGS]
            print_row(macs, [name, right(records[0][0]), *(right(record[-1]) for record in records)])


def latency(arguments):
    import torch
    import torchvision
    folder = pathlib.Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    network = torchvision.models.resnet18()
    for _ in range(3):  # statistics that are not those of an untrained network
        network(torch.randn(8, 3, 224, 224))
    torch.jit.script(network.eval()).save(folder / "resnet18.pt")
    print_row("scheme", ["MACs left", "parameters left", "latency", "speed-up"])
    print_row("---", ["---"] * 4)
    for scheme in SCHEMES:
        recipe = {"name": "resnet18", "model": {"path": "resnet18.pt", "inputs": [{"shape": [1, 3, 224, 224]}]},
                  "evaluation": {"latency": {"repeats": 1}},
                  "passes": [{**factorization(0.5, scheme), "round_to": 8}], "output": {"directory": scheme}}
        path = folder / "recipe.json"
        path.write_text(json.dumps(recipe))
        subprocess.run([arguments.edgecompress, "--quiet", "run", "--no-cache", path, "--overwrite"], check=True, stdout=subprocess.DEVNULL)
        record = json.loads((folder / scheme / "report.json").read_text())["steps"][0]
        measured = json.loads(subprocess.run(
            [arguments.edgecompress, "benchmark", folder / "resnet18.pt", folder / scheme / "model.pt", "--input",
             "1x3x224x224", "--repeats", "20", "--json"], check=True, stdout=subprocess.PIPE).stdout)
        original, factored = (model["evaluation"]["latency"]["median_ms"] for model in measured["models"])
        left = [f"{share_left(record, cost):.1f} %" for cost in ("macs", "parameters")]
        print_row(scheme, [*left, f"{factored / original:.2f}", f"{original / factored:.2f}"])


if __name__ == "__main__":
    main()
