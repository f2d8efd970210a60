"""Saves one network of stock PyTorch, traced and scripted, for the canonical form's tests.

usage: make_torchvision_models.py FOLDER NAME
Writes FOLDER/NAME_traced.pt and FOLDER/NAME_scripted.pt. Exit code 77: no PyTorch or torchvision here.
"""
import os
import sys

try:
    import torch
    import torchvision
    from torch import nn
except ImportError as error:
    print(f"skipped: stock PyTorch is not installed ({error})")
    sys.exit(77)

models = torchvision.models


def convnext():
    setting = models.convnext.CNBlockConfig
    return models.ConvNeXt([setting(16, 32, 2), setting(32, None, 2)], stochastic_depth_prob=0.1, num_classes=10)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(6, 10, num_layers=2, bidirectional=True, dropout=0.2, batch_first=True)
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y[:, -1])


NETWORKS = {
    "resnet18": (lambda: models.resnet18(num_classes=10), (2, 3, 64, 64)),
    "mobilenet_v2": (lambda: models.mobilenet_v2(num_classes=10), (2, 3, 64, 64)),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=10), (2, 3, 64, 64)),
    "efficientnet_b0": (lambda: models.efficientnet_b0(num_classes=10), (2, 3, 64, 64)),
    "densenet121": (lambda: models.densenet121(num_classes=10), (2, 3, 64, 64)),
    "squeezenet1_1": (lambda: models.squeezenet1_1(num_classes=10), (2, 3, 64, 64)),
    "googlenet": (lambda: models.googlenet(num_classes=10, init_weights=False), (2, 3, 64, 64)),
    "vit": (lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10), (2, 3, 32, 32)),
    "convnext": (convnext, (2, 3, 32, 32)),
    "lstm": (lambda: Recurrent(nn.LSTM), (2, 9, 6)),
    "gru": (lambda: Recurrent(nn.GRU), (2, 9, 6)),
}


def main(folder, name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network = make().train()
    with torch.no_grad():
        for _ in range(3):  # batch-norm statistics that are not those of a new network
            network(torch.randn(8, *shape[1:]))
    network.eval()
    example = torch.randn(shape)
    torch.jit.script(network).save(os.path.join(folder, name + "_scripted.pt"))
    torch.jit.trace(network, example, check_trace=False).save(os.path.join(folder, name + "_traced.pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
