"""The oracle of training: stock PyTorch trains FOLDER/model.pt on FOLDER/batches.tensors.

Prints the loss of every step and the weights at the end as JSON. Exits with 77 without PyTorch.
"""
import json
import sys

try:
    import torch
except ImportError:
    sys.exit(77)


functional = torch.nn.functional
LOSSES = {
    "cross_entropy": lambda output, target: functional.cross_entropy(output, target, label_smoothing=0.1),
    "bce": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
}


def main(folder, optimizer_name, loss_name, schedule):
    torch.set_num_threads(1)
    model = torch.jit.load(f"{folder}/model.pt")
    # C++ pickles lists of tensors by a function that the default from 2.6 on, weights only, refuses.
    batches = torch.load(f"{folder}/batches.tensors", weights_only=False)
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    undecayed = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": undecayed, "weight_decay": 0.0}]
    if optimizer_name == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    else:
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer_name](groups, lr=0.01)
    steps = len(batches["inputs"])
    if schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], steps,
                                                        cycle_momentum=False)
    losses = []
    for inputs, target in zip(batches["inputs"], batches["targets"]):
        optimizer.zero_grad()
        loss = LOSSES[loss_name](model(inputs), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if len(losses) + 1 < steps:
            scheduler.step()
        losses.append(loss.item())
    weights = {name: tensor.detach().flatten().tolist() for name, tensor in model.state_dict().items()}
    print(json.dumps({"losses": losses, "weights": weights}))


main(*sys.argv[1:5])
