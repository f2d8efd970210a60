#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 after pruning alone, step by step from the original.

usage: pruning.py weights|channels|recovery EDGECOMPRESS SHARED OUTPUT [--calibration 256] [--traced]

weights: prune_weights without training or labels: a row for each ratio and for 2:4, a column for each criterion, uniform
and by sensitivity. channels: prune_channels at 0.7 and 0.5 of the MACs by each ranking, as it is and repaired without
labels. recovery: then three epochs of finetune, or of distill from the original.

SHARED holds models/cifar10_resnet20_scripted.pt, data/cifar10_train_4660.npz and cifar10_test_932.npz.
"""
import argparse
import json
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
CRITERIA = ("magnitude", "wanda", "sparsegpt")
ALLOCATIONS = ("uniform", "sensitivity")
RATIOS = (0.5, 0.7, 0.8)
RANKINGS = ("group", "global", "isomorphic")
TRAININGS = ({"pass": "finetune", "epochs": 3, "optimizer": {"lr": 0.001}},
             {"pass": "distill", "teacher": "original", "epochs": 3, "optimizer": {"lr": 0.005}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("weights", "channels", "recovery"))
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--calibration", type=int, default=256, help="samples of the training set")
    parser.add_argument("--traced", action="store_true", help="the traced model instead of the scripted one")
    arguments = parser.parse_args()
    {"weights": weights, "channels": channels, "recovery": recovery}[arguments.what](arguments)


def weights(arguments):
    steps = [{"ratio": ratio, "criterion": criterion, "allocation": allocation}
             for ratio in RATIOS for allocation in ALLOCATIONS for criterion in CRITERIA]
    steps += [{"pattern": "n:m", "criterion": criterion} for criterion in CRITERIA]
    records = iter(run(arguments, alone({"pass": "prune_weights", **step} for step in steps)))
    columns = [f"{criterion}, {allocation}" for allocation in ALLOCATIONS for criterion in CRITERIA]
    print_row("zeros", columns)
    print_row("---", ["---"] * len(columns))
    for ratio in RATIOS:
        row = [next(records) for _ in columns]
        assert all(abs(record["counts"]["sparsity"] - ratio) < 1e-4 for record in row)
        print_row(ratio, map(right, row))
    print_row("2:4", [*map(right, records), *"–" * len(CRITERIA)])


def channels(arguments):
    kinds = [(macs, ranking) for macs in (0.7, 0.5) for ranking in RANKINGS]
    records = iter(run(arguments, alone(removal(macs, ranking, repair=repair)
                                        for macs, ranking in kinds for repair in (False, True))))
    columns = ["ranking", "MACs left", "parameters left", "pruned", "repaired", "s"]
    print_row("MACs", columns)
    print_row("---", ["---"] * len(columns))
    for macs, ranking in kinds:
        pruned, repaired = next(records), next(records)
        left = [f"{share_left(repaired, cost):.1f} %" for cost in ("macs", "parameters")]
        print_row(macs, [ranking, *left, right(pruned), right(repaired), f"{repaired['seconds']:.1f}"])


def recovery(arguments):
    columns = ["repaired: right", *(training["pass"] for training in TRAININGS)]
    print_row("MACs", columns)
    print_row("---", ["---"] * len(columns))
    for macs in (0.7, 0.5):
        for repair in (False, True):
            records = [run(arguments, [removal(macs, "isomorphic", repair=repair), training]) for training in TRAININGS]
            print_row(macs, [f"{'yes' if repair else 'no'}: {right(records[0][0])}",
                             *(right(record[-1]) for record in records)])


def removal(macs, ranking, repair):
    return {"pass": "prune_channels", "macs": macs, "ranking": ranking, "repair": repair}


def alone(steps):
    """Each step from the original: with a gate that none can meet, each is measured and rolled back."""
    return [{**step, "gate": {"max_size_ratio": 0.001, "on_fail": "rollback"}} for step in steps]


def run(arguments, steps):
    shared = pathlib.Path(arguments.shared).resolve()
    form = "traced" if arguments.traced else "scripted"
    settings = {
        "seed": getattr(arguments, "seed", 7),
        "data/train/path": f"{shared}/data/cifar10_train_4660.npz",
        "data/test/path": f"{shared}/data/cifar10_test_932.npz",
        "data/calibration/limit": arguments.calibration,
        "data/validation/split": 0.05,
        "evaluation/latency/repeats": 1,
        "gates": {},
        "passes": steps,
    }
    command = [arguments.edgecompress, "--quiet", "run", "--no-cache", HERE / "cifar10.json", "--overwrite",
               "--output", arguments.output, "--model", f"{shared}/models/cifar10_resnet20_{form}.pt"]
    for path, value in settings.items():
        command += ["--set", f"{path}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((pathlib.Path(arguments.output) / "report.json").read_text())["steps"]


def right(record):
    return record["evaluation"]["test"]["correct"]


def share_left(record, cost):
    return 100 * record["counts"][f"{cost}_after"] / record["counts"][f"{cost}_before"]


def print_row(first, rest):
    print("|", " | ".join(map(str, [first, *rest])), "|", flush=True)


if __name__ == "__main__":
    main()
