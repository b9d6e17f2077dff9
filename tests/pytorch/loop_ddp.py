"""One process of a distributed training: `python -m tests.pytorch.loop_ddp RANK WORLD STORE`, writes one JSON line."""

from __future__ import annotations

import hashlib
import json
import sys

import torch
from torch.nn.parallel import DistributedDataParallel

import weft
from tests.pytorch.test_loop_module import DST, LOSS, network, rows


def main(rank: int, world: int, store: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    module = network({**DST, "pretrain_epochs": 1, "epochs": 2}, seed=1 + rank)  # rank 0's weights are everyone's
    module.trace_after = 1
    shared = DistributedDataParallel(module)
    stages = weft.Stages(shared, module.keras_model.weft_recipe)
    optimizer = torch.optim.SGD(shared.parameters(), 0.05)
    x, y = rows()
    x, y = (part[rank::world] for part in (x, y))
    for epoch in range(3):
        stages.begin_epoch(epoch)
        for _ in range(2):
            optimizer.zero_grad()
            (LOSS(shared(x), y) + weft.penalty(shared)).backward()
            optimizer.step()
    learnt = {name: p.detach().numpy().tobytes() for name, p in module.named_parameters()}
    shared(x)  # takes rank 0's buffers
    same = hashlib.sha256(b"".join(learnt.values())).hexdigest()
    state = {name: value.tolist() for name, value in module.state_dict().items() if name.endswith("threshold")}
    sys.stdout.write(json.dumps({"rank": rank, "digest": same, "thresholds": state}) + "\n")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
