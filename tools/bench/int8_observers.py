#!/usr/bin/python3
"""Right answers of CIFAR-10 ResNet-20 in INT8, for each way to choose ranges and each size of the calibration set.

usage: int8_observers.py EDGECOMPRESS SHARED OUTPUT [--images 64,256,1024] [--seeds 1,2,3] [--traced]

A seed draws the images. A cell is the mean over the seeds and, in brackets, the worst of them. Static quantize_int8 alone, from the float model each time; SHARED as for pruning.py.
"""
import argparse
import statistics

from pruning import print_row, right, run

CHOICES = {
    "minmax": {"observer": "minmax"},
    "moving_average": {"observer": "moving_average"},
    "percentile, 99.9": {"observer": "percentile", "percentile": 99.9},
    "percentile, 99.99": {"observer": "percentile"},
    "entropy": {"observer": "entropy"},
    "histogram": {"observer": "histogram"},
    "histogram, symmetric": {"observer": "histogram", "activation_scheme": "symmetric"},
    "histogram, weights in 8 bits": {"observer": "histogram", "reduce_range": False, "engine": "qnnpack"},
    "histogram, weights by mse": {"observer": "histogram", "weight_observer": "mse"},
    "histogram, weights per tensor": {"observer": "histogram", "per_channel": False},
    "histogram, weights per tensor by mse": {"observer": "histogram", "per_channel": False, "weight_observer": "mse"},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("shared")
    parser.add_argument("output")
    parser.add_argument("--images", default="64,256,1024", help="sizes of the calibration set")
    parser.add_argument("--seeds", default="1,2,3", help="each draws a calibration set of its own")
    parser.add_argument("--traced", action="store_true", help="the traced model instead of the scripted one")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.images.split(",")]
    print_row("observer", [f"{size} images" for size in sizes])
    print_row("---", ["---"] * len(sizes))
    for name, choice in CHOICES.items():
        print_row(name, [right_in_int8(arguments, choice, size) for size in sizes])


def right_in_int8(arguments, choice, size):
    arguments.calibration = size
    answers = []
    for arguments.seed in map(int, arguments.seeds.split(",")):
        answers.append(right(run(arguments, [{"pass": "quantize_int8", **choice}])[0]))
    return f"{statistics.mean(answers):.1f} ({min(answers)})"


if __name__ == "__main__":
    main()
