"""The oracle of distillation losses: stock PyTorch on FOLDER/values.tensors, by formulas of the papers' own code.

Prints {loss: {"value", "gradient" of the student's values}} as JSON. Exits with 77 without PyTorch.
"""
import json
import sys

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit(77)

T = 3.0


def kl(student, teacher):
    return T * T * F.kl_div(F.log_softmax(student / T, 1), F.softmax(teacher / T, 1), reduction="batchmean")


def kl_of_two(student, teacher, other):
    target = (F.softmax(teacher / T, 1) + F.softmax(other / T, 1)) / 2
    return T * T * F.kl_div(F.log_softmax(student / T, 1), target, reduction="batchmean")


def attention(student, teacher):
    """szagoruyko/attention-transfer, summed over positions instead of averaged; the teacher's map is the larger."""
    def at(x):
        return F.normalize(x.view(x.size(0), -1))

    maps = F.adaptive_avg_pool2d(teacher.pow(2).mean(1, keepdim=True), student.shape[2:])
    return (at(student.pow(2).mean(1)) - at(maps)).pow(2).sum(1).mean()


def distances(e):
    """lenscloth/RKD, by differences."""
    d = (e.unsqueeze(0) - e.unsqueeze(1)).pow(2).sum(2).clamp(min=1e-12).sqrt()
    return d * (1 - torch.eye(len(e), dtype=e.dtype))


def distance(student, teacher):
    t, s = distances(teacher.flatten(1)), distances(student.flatten(1))
    return F.smooth_l1_loss(s / s[s > 0].mean(), t / t[t > 0].mean())


def angles(e):
    normed = F.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2)
    return torch.bmm(normed, normed.transpose(1, 2))


def angle(student, teacher):
    return F.smooth_l1_loss(angles(student.flatten(1)), angles(teacher.flatten(1)))


def hint(student, teacher):
    return F.mse_loss(student, F.adaptive_avg_pool2d(teacher, student.shape[2:]))


def main(folder):
    # C++ pickles lists of tensors by a function that the default from 2.6 on, weights only, refuses.
    values = torch.load(f"{folder}/values.tensors", weights_only=False)
    scores, scores_taught, scores_of_other = values["scores"]
    maps, maps_taught = values["maps"]
    cases = {
        "kl": (kl, scores, scores_taught),
        "output mse": (F.mse_loss, scores, scores_taught),
        "kl of two": (kl_of_two, scores, scores_taught, scores_of_other),
        "mse": (hint, maps, maps_taught),
        "attention": (attention, maps, maps_taught),
        "distance": (distance, maps, maps_taught),
        "angle": (angle, maps, maps_taught),
    }
    told = {}
    for name, (loss, student, *teachers) in cases.items():
        student = student.clone().requires_grad_(True)
        value = loss(student, *teachers)
        value.backward()
        told[name] = {"value": value.item(), "gradient": student.grad.flatten().tolist()}
    print(json.dumps(told))


main(sys.argv[1])
