"""Train to the end with a checkpoint and store the result; a test kills this process on its way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from tests.train.conftest import make_engine
from tests.train.test_fit import plan, run


def report(done: int, *_: object) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()
    time.sleep(0.05)


if __name__ == "__main__":
    state, _, _ = run(make_engine("hgq"), plan(), Path(sys.argv[1]), report)
    np.savez(sys.argv[2], **{f"t{i}": np.asarray(value) for i, value in enumerate(state.trainable)})
