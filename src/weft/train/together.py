"""Several trainings of one network as one program: their states lie side by side, and `jax.vmap` runs over them.

Members may differ in rows, seeds, first weights, widths and controls: in everything that is an array, as also the
formats of fixed numbers are. Each is trained as `weft.train.fit.fit` trains it alone, up to the rounding of
sums, and one that diverges or stops early leaves the others alone. What is gained depends on the machine: an
accelerator that one small network leaves idle is filled by many.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import ShapeError, TrainingError
from weft.train.engine import EpochData, State, padded
from weft.train.fit import History, Plan, Rows, Stopper, checked_log, row_order
from weft.train.track import Tracker

if TYPE_CHECKING:
    from weft.train.engine import Engine


@dataclass
class Member:
    """One of the trainings.

    Attributes:
        engine: Of its own model; all are of one structure, and the program is that of the first.
        train: Its training rows; as many batches an epoch as the others have.
        validation: Rows whose metrics are logged after each epoch.
        plan: As long as those of the others.
        trackers: See the state after every epoch.
    """

    engine: Engine
    train: Rows
    validation: Rows
    plan: Plan
    trackers: Sequence[Tracker] = field(default_factory=tuple[Tracker, ...])

    @property
    def steps(self) -> tuple[int, int]:
        """Batches of an epoch, and rows of a batch."""
        return row_order(len(self.train.x), self.plan.batch_size, 0, 0).shape  # type: ignore[return-value]


def fit_together(members: Sequence[Member]) -> list[tuple[State, History] | TrainingError]:
    """Train all members from their models' own states; return last state and history of each, or why it has none.

    Raises:
        ShapeError: The members are not of one structure, or differ in the length or the number of their batches.
    """
    program = Together(members)
    states: list[State | None] = [None] * len(members)
    histories = [History() for _ in members]
    failures: dict[int, TrainingError] = {}
    stoppers = [Stopper(member.plan) for member in members]
    for epoch in range(members[0].plan.epochs):
        losses, controls = program.epoch(epoch)
        for i, member in enumerate(members):
            if i in failures or histories[i].stopped:
                continue
            state = program.state(i)
            mine = {name: values[i] for name, values in controls.items()}
            try:
                entry = checked_log(program.engine, state, member.validation, member.plan, losses[i], mine, epoch)
            except TrainingError as error:
                failures[i] = error
                continue
            histories[i].epochs.append(entry)
            states[i] = state
            for control in member.plan.controls.values():
                control.update(entry)
            for tracker in member.trackers:
                tracker.update(epoch, entry, state)
            stoppers[i].update(entry)
            if stoppers[i].stop:
                histories[i].stopped = f"no better {member.plan.metric} in {member.plan.patience} epochs"
        if all(i in failures or histories[i].stopped for i in range(len(members))):
            break
    for history in histories:
        history.stopped = history.stopped or "all epochs done"
    return [failures.get(i) or (states[i], histories[i]) for i in range(len(members))]  # type: ignore[misc]


class Together:
    """The compiled epoch of all members, and their states.

    Args:
        members: At least one, of one structure.
        n_steps: Batches of an epoch, if fewer than the rows make.
    """

    def __init__(self, members: Sequence[Member], n_steps: int | None = None) -> None:
        import jax
        import jax.numpy as jnp

        first = members[0]
        _check(members)
        states = [member.engine.state() for member in members]
        self.members, self.engine = members, first.engine
        self.n_steps = min(n_steps or first.steps[0], first.steps[0])
        self._states = jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)
        self._shared = all(member.train is first.train for member in members)
        rows = [member.train for member in members[:1]] if self._shared else [member.train for member in members]
        length = max(len(one.x) for one in rows)
        arrays = [[getattr(one, name) for one in rows] for name in ("x", "y", "weight")]
        given = [[padded(part, length) for part in parts if part is not None] for parts in arrays]
        data = [jnp.stack(parts) if parts else None for parts in given]
        self._data = EpochData(*([None if a is None else a[0] for a in data] if self._shared else data))  # type: ignore[arg-type]
        self._program: Any = None

    def epoch(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run one epoch of all; return the losses, (members, steps), and the controls by name, alike."""
        import jax.numpy as jnp

        orders, controls = [], []
        for member in self.members:
            plan = member.plan
            order = row_order(len(member.train.x), plan.batch_size, plan.seed, number)[: self.n_steps]
            orders.append(order)
            controls.append({name: control.values(number, len(order)) for name, control in plan.controls.items()})
        merged = {name: np.stack([one[name] for one in controls]).astype(np.float32) for name in controls[0]}
        arguments = (
            self._states,
            self._data,
            jnp.asarray(np.stack(orders), "int32"),
            {name: jnp.asarray(values) for name, values in merged.items()},
        )
        if self._program is None:
            data = None if self._shared else 0
            self._program = self.engine.compile_together(arguments, (0, data, 0, 0))
        self._states, losses = self._program(*arguments)
        return np.asarray(losses), merged

    def state(self, index: int) -> State:
        """Return the state of one member, a copy."""
        import jax

        return jax.tree.map(lambda array: array[index], self._states)


def alike(members: Sequence[Member]) -> bool:
    """Say whether these can train together at all."""
    try:
        _check(members)
    except ShapeError:
        return False
    return True


def _check(members: Sequence[Member]) -> None:
    variables = [(*one.engine.model.trainable_variables, *one.engine.model.non_trainable_variables,
                  *one.engine.optimizer.variables) for one in members]  # fmt: skip
    if len({tuple((tuple(v.shape), str(v.dtype)) for v in mine) for mine in variables}) > 1:
        raise ShapeError("networks that train together must be of one structure, and their variables differ")
    if len({(member.steps, member.plan.epochs) for member in members}) > 1:
        raise ShapeError("networks that train together need equally many epochs, batches, and rows of a batch")
    if len({member.train.weight is None for member in members}) > 1:
        raise ShapeError("of networks that train together either all have rows with weights, or none has")


def measure(members: Sequence[Member], n_steps: int = 20, repeats: int = 3) -> dict[str, float]:
    """Measure a few steps of all members, one after the other and together.

    Returns:
        `alone` and `together`: seconds that one step of every member takes.
    """

    def median(run: Any) -> float:
        run()  # compiles
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            run()
            times.append(time.perf_counter() - begun)
        return float(np.median(times))

    program = Together(members, n_steps)
    single = Together(members[:1], n_steps)
    return {
        "together": median(lambda: program.epoch(0)) / program.n_steps,
        "alone": len(members) * median(lambda: single.epoch(0)) / single.n_steps,
    }
