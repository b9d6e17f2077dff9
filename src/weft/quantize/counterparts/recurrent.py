"""Recurrent layers: `SimpleRNN` and `GRU`, the two that HGQ2 has.

HGQ2's own defaults replace tanh and sigmoid by clipping; here the functions of the float layer stay, with a quantiser
before or behind each table. A simple recurrent layer gives out its state as it is read in the next step, quantised: one
table makes both, and what follows needs no quantiser for it. The layers are unrolled: hardware is, and a quantiser that
follows the data cannot keep its range out of a loop of JAX.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq
import keras
from hgq.layers.rnn import QSimpleRNNCell
from hgq.quantizer import Quantizer

from weft.config.numbers import FloatNumbers
from weft.quantize import quantizers
from weft.quantize.activations import NONNEGATIVE
from weft.quantize.counterparts._base import (
    KERNEL_PARTS,
    Axes,
    Kit,
    Made,
    Rule,
    computes_in_float32,
    config_of,
    copy_weights,
    first_objection,
)
from weft.quantize.graph import Call


class _Cell(QSimpleRNNCell):
    """HGQ2's cell, whose output is the quantised state; quantising that once more in the next step changes nothing."""

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        output, new = super().call(sequence, states, training=training)
        if self.enable_sq:
            output = self.sq(output, training=training)
        return output, [output] if isinstance(new, list) else output


@keras.saving.register_keras_serializable(package="weft")
class QSimpleRNN(hgq.QSimpleRNN):
    """HGQ2's layer, whose output is its state, quantised where the state is.

    HGQ2's own does not write down that its state has a quantiser: read back, it had none.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        object.__setattr__(self.cell, "__class__", _Cell)  # HGQ2's layer makes its cell by itself

    @property
    def quantizes_output(self) -> bool:
        """Whether what it gives out comes from a quantiser."""
        return self.cell.enable_sq

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"enable_sq": self.cell.enable_sq}


def _simple(layer: Any, kit: Kit) -> Made:
    signed = _name(layer.activation) not in NONNEGATIVE
    its = kit.settings.table
    if its.bits is None:  # the state, which the table makes, is multiplied with weights as the input is
        its = its.model_copy(update={"bits": kit.settings.input.bits})
    states = {"sq_conf": quantizers.table(kit.numbers, its, signed=signed), "paq_conf": kit.inner(), "enable_sq": True}
    new = QSimpleRNN(**_common(layer, kit), **states)
    return Made([new, *_output(layer, kit)], partial(copy_weights, layer, new))


def _gru(layer: Any, kit: Kit) -> Made:
    new = hgq.QGRU(
        **_common(layer, kit),
        sq_conf=kit.again(),
        rhq_conf=kit.inner() if layer.reset_after else kit.again(),
        paq_conf=kit.table(signed=_name(layer.activation) not in NONNEGATIVE),
        praq_conf=kit.table(signed=_name(layer.recurrent_activation) not in NONNEGATIVE),
    )
    names = ("kernel", "recurrent_kernel", "bias")
    renamed = {f"{layer.cell.name}/{name}": f"qgru_cell/{name}" for name in names}
    return Made([new, *_output(layer, kit)], partial(copy_weights, layer, new, renamed))


def _common(layer: Any, kit: Kit) -> dict[str, Any]:
    loops = isinstance(kit.numbers, FloatNumbers) and not layer.unroll
    return {
        **config_of(layer, "zero_output_for_mask", "unroll"),
        "unroll": None if loops else True,
        "iq_conf": kit.input(),
        "kq_conf": kit.weight(),
        "rkq_conf": kit.weight(),
        "bq_conf": kit.bias(),
        "parallelization_factor": -1,
        **kit.before().rest(),
    }


def _output(layer: Any, kit: Kit) -> list[Any]:
    """Return the quantiser of the output as a layer: HGQ2's recurrent layers take none."""
    output = kit.output()
    return [] if output is None else [Quantizer(output, name=kit.name(layer, "output"))]


def _name(function: Any) -> str:
    return getattr(function, "__name__", "")


def _kernels(layer: Any) -> list[Axes]:
    return [Axes(tuple(layer.cell.kernel.shape)), Axes(tuple(layer.cell.recurrent_kernel.shape))]


def _objection(call: Call) -> str | None:
    if call.operation.zero_output_for_mask:
        return "it puts zeros where a mask is; build it with zero_output_for_mask=False"
    return None


_RULE = {
    "parts": (*KERNEL_PARTS, "table"),
    "kernels": _kernels,
    "objection": first_objection(computes_in_float32, _objection),
}

RULES = {"SimpleRNN": Rule(_simple, **_RULE), "GRU": Rule(_gru, **_RULE)}
