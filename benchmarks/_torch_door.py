"""The contenders of `torch_door.py`: one PyTorch module, compressed and trained in a process of its own.

The protocol is that of `_contenders.py`, whose data and main loop they share.
"""

from __future__ import annotations

import itertools
import sys

from _contenders import CASES, CONTENDERS, data, main
from _recipes import METHODS, pquant_recipe, trained_by_engine

EPOCHS = 100


def module(case: dict):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    layers = []
    for n_in, n_out in itertools.pairwise(case["sizes"]):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def recipe(name: str) -> dict:
    if name == "hgq":
        return {"recipe": "hgq", "beta": 1e-6, "epochs": EPOCHS, "finetune_epochs": 0}
    return {"recipe": "fixed", "precisions": [{"total_bits": 8}], "epochs": EPOCHS, "prune": METHODS[name]}


def compressed(name: str, case: dict):
    import torch

    import weft

    return weft.compress(module(case), recipe(name), example_input=torch.randn(4, case["sizes"][0]))


def in_loop(name: str, case: dict, inductor: bool = False):
    """weft's module in a loop of PyTorch."""
    import torch

    import weft

    model = compressed(name, case)
    if inductor:
        model.compile()
    weft.Stages(model, model.keras_model.weft_recipe).begin_epoch(0)
    x, y = (torch.from_numpy(array) for array in data(case))
    y = y.long()
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3), torch.nn.CrossEntropyLoss()

    def chunk() -> None:
        model.train()
        for i in range(0, len(x), case["batch"]):
            optimizer.zero_grad()
            outputs = model(x[i : i + case["batch"]])
            (loss(outputs, y[i : i + case["batch"]]) + weft.penalty(model)).backward()
            optimizer.step()

    return chunk, lambda: [parameter.detach().numpy() for parameter in model.parameters()]


def by_engine(name: str, case: dict):
    """The same module, converted, in weft's compiled engine."""
    return trained_by_engine(compressed(name, case), case)


def in_float(name: str, case: dict):
    """The same module, converted and not compressed, in the engine: no compression can be faster than that."""
    import torch

    import weft

    return trained_by_engine(weft.from_torch(module(case), torch.randn(4, case["sizes"][0])), case)


if __name__ == "__main__":
    contender, method = sys.argv[1:3]
    CASES[method] = CASES["Q"]
    CONTENDERS.update(
        loop=in_loop,
        inductor=lambda name, case: in_loop(name, case, inductor=True),
        engine=by_engine,
        float=in_float,
        pquant=pquant_recipe,
    )
    main()
