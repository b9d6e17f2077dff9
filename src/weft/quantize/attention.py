"""Multi-head attention whose output projection has a kernel quantiser of its own.

HGQ2 gives all four projections one configuration. Queries, keys and values number their outputs by two axes of the
kernel, (head, size), and the output projection by one: a pruning method has to be told which.
"""

from __future__ import annotations

from typing import Any

import hgq.layers as hgq
import keras
from hgq.quantizer import QuantizerConfig


@keras.saving.register_keras_serializable(package="weft")
class QMultiHeadAttention(hgq.QMultiHeadAttention):
    """HGQ2's multi-head attention.

    Args:
        output_kq_conf: The kernel quantiser of the output projection; that of the others is `qkvo_kq_conf`.
        kwargs: As for HGQ2's layer.
    """

    def __init__(self, *args: Any, output_kq_conf: QuantizerConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._output_kq_conf = output_kq_conf

    def _make_output_dense(self, query_shape: Any, common_kwargs: dict[str, Any], name: str | None = None) -> Any:
        return super()._make_output_dense(query_shape, common_kwargs | {"kq_conf": self._output_kq_conf}, name)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_kq_conf": keras.saving.serialize_keras_object(self._output_kq_conf)}

    def plain(self) -> hgq.QMultiHeadAttention:
        """Return HGQ2's layer, which does the same once no method prunes it; it is not built, names stay."""
        return hgq.QMultiHeadAttention.from_config(super().get_config())
