"""Low-rank factorisation against NumPy's own decomposition, budgets by exhaustion, topology and names."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers as kl

from weft.compression._products import float_kernels
from weft.compression.low_rank import factorize, ranks
from weft.config.low_rank import LowRankBudget, LowRankConfig
from weft.errors import BudgetError, ConfigError, NoEffectWarning, ShapeError

pytestmark = pytest.mark.backends

numpy = keras.ops.convert_to_numpy
values = st.floats(-3, 3, width=32, allow_subnormal=False)


def dense(kernel: np.ndarray) -> keras.Model:
    inputs = keras.Input((kernel.shape[0],))
    model = keras.Model(inputs, kl.Dense(kernel.shape[1], activation="relu", name="only")(inputs))
    model.set_weights([kernel, np.arange(kernel.shape[1], dtype=np.float32)])
    return model


def nearest(kernel: np.ndarray, rank: int) -> np.ndarray:
    """The nearest matrix of a rank, from the eigenvectors of the smaller Gram matrix."""
    w = kernel.astype(np.float64)
    _, vectors = np.linalg.eigh(w @ w.T)
    top = vectors[:, ::-1][:, :rank]
    return top @ top.T @ w


@given(arrays(np.float32, (6, 8), elements=values), st.integers(1, 3))
@settings(max_examples=20)
def test_the_factors_are_the_nearest_of_their_rank(kernel, rank):
    model = factorize(dense(kernel), rank=rank)
    u, v = (numpy(model.get_layer(f"only_{part}").kernel).astype(np.float64) for part in "uv")
    assert (u.shape, v.shape) == ((6, rank), (rank, 8))
    left = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)[rank:]
    np.testing.assert_allclose(np.linalg.norm(kernel - u @ v), np.linalg.norm(left), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(u), np.linalg.norm(v), rtol=1e-4, atol=1e-5)
    one, two = model.get_layer("only_u"), model.get_layer("only_v")
    assert (one.use_bias, one.activation.__name__, two.activation.__name__) == (False, "linear", "relu")
    np.testing.assert_array_equal(numpy(two.bias), np.arange(8))


@given(arrays(np.float32, (5, 9), elements=values), st.floats(0.05, 1.0))
@settings(max_examples=30)
def test_energy_takes_the_smallest_rank_that_keeps_it(kernel, energy):
    squares = np.linalg.eigvalsh(kernel.astype(np.float64) @ kernel.astype(np.float64).T)[::-1].clip(0)
    total = squares.sum()
    kept = [squares[:r].sum() >= energy * total * (1 - 1e-9) for r in range(1, 6)]
    expected = kept.index(True) + 1
    near = abs(squares[: expected - 1].sum() - energy * total) < 1e-6 * total  # rounding decides
    if expected * 14 < 45 and not near:
        assert ranks(dense(kernel), energy=energy) == {"only": expected}
    elif not near:
        with pytest.warns(NoEffectWarning, match="no layer of .* becomes smaller at the ranks"):
            assert ranks(dense(kernel), energy=energy) == {}


def low(shape: tuple[int, ...], read: int, rank: int, seed: int = 0) -> np.ndarray:
    """A kernel whose first `read` axes and the others are of a rank together."""
    rng = np.random.default_rng(seed)
    n_in, n_out = int(np.prod(shape[:read])), int(np.prod(shape[read:]))
    return (rng.normal(size=(n_in, rank)) @ rng.normal(size=(rank, n_out))).reshape(shape).astype(np.float32) / rank


def einsum(equation: str, output_shape, bias_axes=None):
    return lambda: kl.EinsumDense(equation, output_shape, bias_axes=bias_axes, name="x")


def named(kind, *arguments, **options):
    return lambda: kind(*arguments, **options, name="x")


KINDS = {
    "dense on a sequence": (named(kl.Dense, 6, activation="tanh"), (4, 7), (7, 6), 1, (0, 1)),
    "einsum": (einsum("abc,cde->abde", (4, 3, 4), "de"), (4, 6), (6, 3, 4), 1, (0, 1, 2)),
    "einsum with dots": (einsum("...ab,bc->...ac", (4, 6), "c"), (4, 7), (7, 6), 1, (0, 1)),
    "einsum with dots before all": (einsum("...x,xy->...y", 6), (4, 7), (7, 6), 1, (0, 1)),
    "einsum with dots behind": (einsum("ab...,bc->ac...", 6), (7, 4), (7, 6), 1, (0, 1)),
    "einsum over two axes": (einsum("abcd,cde->abe", (2, 9)), (2, 3, 4), (3, 4, 9), 2, (0, 1, 2)),
    "einsum, outputs first": (einsum("abc,dc->abd", (4, 6)), (4, 7), (7, 6), 1, (1, 0)),
    "conv": (named(kl.Conv1D, 8, 3, strides=2, padding="same", activation="relu"), (7, 3), (3, 3, 8), 2, (0, 1, 2)),
    "conv causal": (named(kl.Conv1D, 8, 3, dilation_rate=2, padding="causal"), (7, 3), (3, 3, 8), 2, (0, 1, 2)),
    "conv 2d": (named(kl.Conv2D, 8, (3, 2), strides=(2, 1)), (7, 5, 2), (3, 2, 2, 8), 3, (0, 1, 2, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_computes_the_same_at_its_true_rank(kind):
    make, shape, kernel_shape, read, order = KINDS[kind]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make()(inputs))
    layer = model.get_layer("x")
    layer.kernel.assign(low(kernel_shape, read, 2).transpose(order))
    if layer.bias is not None:
        layer.bias.assign(np.linspace(-1, 1, int(np.prod(layer.bias.shape))).reshape(layer.bias.shape))
    thin = factorize(model, rank=2)
    assert [one.name for one in thin.layers[1:]] == ["x_u", "x_v"]
    assert thin.output_shape == model.output_shape
    assert thin.count_params() < model.count_params()
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(numpy(thin(x)), numpy(model(x)), rtol=1e-4, atol=1e-4)


def network() -> keras.Model:
    """Branches, a nested and a shared layer, layers that cannot be factorised, and state."""
    inputs = keras.Input((6, 4), name="hits")
    shared = kl.Dense(8, name="shared")
    inner = keras.Sequential([keras.Input((6, 8)), kl.Dense(12, name="dense"), kl.ReLU(name="act")], name="inner")
    one = shared(kl.DepthwiseConv1D(3, padding="same", name="deep")(inputs))
    two = kl.Conv1D(8, 3, groups=4, padding="same", name="groups")(inputs)
    norm = kl.BatchNormalization(name="norm")(kl.Add(name="add")([one, shared(inputs), two]))
    out = kl.Dense(3, name="last")(kl.Flatten(name="flat")(inner(norm)))
    tied = kl.Dense(9, kernel_constraint="non_neg", name="tied")(kl.Flatten(name="flat2")(norm))
    model = keras.Model(inputs, {"a": out, "b": tied}, name="net")
    rng = np.random.default_rng(2)
    model.set_weights([rng.uniform(0.1, 1.0, v.shape).astype(np.float32) for v in model.weights])
    return model


def test_topology_names_state_and_the_model_itself_stay():
    model = network()
    before = [numpy(v).copy() for v in model.weights]
    thin = factorize(model, rank={"last": 1, "inner/*": 8, "shared": 2})
    same = {"hits", "deep", "groups", "add", "norm", "inner", "flat", "flat2", "tied"}
    assert {layer.name for layer in thin.layers} == {*same, "shared_u", "shared_v", "last_u", "last_v"}
    assert [layer.name for layer in thin.get_layer("inner").layers] == [
        "dense",
        "act",
    ]  # rank 8 of 8 x 12 saves nothing
    assert thin.name == "net"
    for old, new in ((model.get_layer(name), thin.get_layer(name)) for name in ("deep", "groups", "norm", "tied")):
        assert old is not new
        for mine, yours in zip(old.weights, new.weights, strict=True):
            np.testing.assert_array_equal(numpy(mine), numpy(yours))
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)
    x = np.random.default_rng(3).normal(size=(2, 6, 4)).astype(np.float32)
    result, expected = thin(x), model(x)
    assert set(result) == {"a", "b"}
    small = {name: numpy(model.get_layer(name).kernel).astype(np.float64) for name in ("shared", "last")}
    model.get_layer("shared").kernel.assign(nearest(small["shared"], 2))
    model.get_layer("last").kernel.assign(nearest(small["last"], 1))
    cut = model(x)
    np.testing.assert_allclose(numpy(result["b"]), numpy(cut["b"]), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(numpy(result["a"]), numpy(cut["a"]), rtol=1e-3, atol=1e-2)
    assert np.abs(numpy(expected["a"]) - numpy(cut["a"])).max() > 0.1


def three(seed: int = 0) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), kl.Dense(7, name="a"), kl.Dense(5, name="b"), kl.Dense(6, name="c")])
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in layer.kernel.shape)
        s = rng.uniform(0, 1, min(layer.kernel.shape)) ** 3
        layer.kernel.assign(left[:, : len(s)] * s @ right[: len(s)])
    return model


def error(model: keras.Model, chosen: dict[str, int]) -> float:
    """The sum of the shares of squared singular values that ranks cut off."""
    total = 0.0
    for layer in model.layers:
        squares = np.sort(np.linalg.svd(numpy(layer.kernel).astype(np.float64), compute_uv=False) ** 2)[::-1]
        total += squares[chosen.get(layer.name, len(squares)) :].sum() / squares.sum()
    return total


def size(model: keras.Model, chosen: dict[str, int]) -> int:
    weights = {layer.name: layer.kernel.shape for layer in model.layers}
    kernels = sum(chosen[k] * (n + m) if k in chosen else n * m for k, (n, m) in weights.items())
    return kernels + sum(m for _, m in weights.values())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("limit", [60, 80, 100, 120])
def test_a_budget_is_met_and_what_is_lost_is_near_the_least_possible(seed, limit):
    model = three(seed)
    chosen = ranks(model, budget={"parameters": limit})
    thin = factorize(model, budget={"parameters": limit})
    assert thin.count_params() == size(model, chosen) <= limit
    options = [[None, *range(1, 4)], [None, 1, 2], [None, 1, 2]]
    all_of_them = ({k: r for k, r in zip("abc", each, strict=True) if r} for each in itertools.product(*options))
    fits = [one for one in all_of_them if size(model, one) <= limit]
    best = min(error(model, one) for one in fits)
    # greedy by error for what is saved: no worse than the best that stays below by more than the largest single step
    slack = [one for one in fits if size(model, one) <= limit - 30]
    assert best <= error(model, chosen) + 1e-6
    assert error(model, chosen) <= min((error(model, one) for one in slack), default=3.0) + 1e-6


def test_a_budget_that_one_step_of_the_hull_meets_exactly_is_met_at_the_least_error():
    model = three(4)
    sizes = {}
    for each in itertools.product([None, 1, 2, 3], [None, 1, 2], [None, 1, 2]):
        one = {k: r for k, r in zip("abc", each, strict=True) if r}
        sizes.setdefault(size(model, one), []).append(error(model, one))
    hull = []  # the least error at each size, below which no line between two others runs
    for point in sorted((n, min(errors)) for n, errors in sizes.items()):
        while hull and hull[-1][1] <= point[1]:
            break
        else:

            def price(p, q):
                return (p[1] - q[1]) / (q[0] - p[0])

            while len(hull) > 1 and price(hull[-2], hull[-1]) <= price(hull[-1], point):
                hull.pop()
            hull.append(point)
    assert len(hull) > 3
    for limit, least in hull[:-1]:
        assert error(model, ranks(model, budget={"parameters": limit})) == pytest.approx(least, abs=1e-6)


def test_macs_are_those_of_the_network_that_comes_out():
    inputs = keras.Input((9, 4))
    hidden = kl.Conv1D(12, 3, padding="same", name="conv")(kl.Dense(8, name="dense")(inputs))
    model = keras.Model(inputs, kl.Dense(3, name="last")(kl.Flatten()(hidden)))

    def macs(model: keras.Model) -> int:
        return sum(int(k.products.sum()) for k in float_kernels(model, np.zeros((1, 9, 4), np.float32)))

    whole = macs(model)
    assert whole == 9 * 4 * 8 + (9 + 8 + 8) * 8 * 12 + 9 * 12 * 3
    for limit in (2600, 1800, 1000):
        thin = factorize(model, budget=LowRankBudget(macs=limit))
        assert macs(thin) <= limit
        assert macs(thin) > limit - 450  # one rank of one layer more would be too many
    with pytest.raises(BudgetError, match=r"to macs <= 100: with rank 1 in all of its 3 layers .* it has 527; raise"):
        factorize(model, budget={"macs": 100})


def test_a_budget_above_the_size_changes_nothing_and_says_so():
    with pytest.warns(NoEffectWarning, match="becomes smaller at the ranks"):
        assert ranks(three(), budget={"parameters": 10_000}) == {}


def test_a_budget_out_of_reach_names_the_least():
    least = 13 + 12 + 11 + 18
    with pytest.raises(
        BudgetError, match=rf"to parameters <= {least - 1}: with rank 1 in all of its 3 .* it has {least};"
    ):
        factorize(three(), budget={"parameters": least - 1})
    assert factorize(three(), budget={"parameters": least}).count_params() == least


def test_only_layers_that_are_named_are_factorised_and_an_odd_name_is_said():
    assert set(ranks(three(), rank=1, layers=["a", "c"])) == {"a", "c"}
    with pytest.warns(NoEffectWarning, match=r"'d' in layers matches no layer .*there are: a, b, c"):
        assert set(ranks(three(), rank=1, layers=["a", "d"])) == {"a"}
    with pytest.warns(NoEffectWarning, match=r"'d\*' in rank matches no layer"):
        assert ranks(three(), rank={"a": 1, "d*": 2}) == {"a": 1}


def test_a_kernel_of_zeros_becomes_rank_1():
    assert ranks(dense(np.zeros((6, 8), np.float32)), energy=0.9) == {"only": 1}


def test_the_result_trains_and_saves(tmp_path):
    model = factorize(three(), rank=1)
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 6)), np.ones((4, 6)), verbose=0)
    model.save(tmp_path / "thin.keras")
    loaded = keras.saving.load_model(tmp_path / "thin.keras")
    np.testing.assert_array_equal(numpy(loaded(np.ones((1, 6)))), numpy(model(np.ones((1, 6)))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs exactly one of energy, rank and budget; got none"),
        ({"energy": 0.9, "rank": 2}, "needs exactly one of energy, rank and budget; got energy and rank"),
        ({"energy": 1.5}, "energy: must be <= 1.0; got 1.5"),
        ({"energy": 0.0}, r"energy: must be > 0.*; got 0"),
        ({"rank": 0}, "rank: must be >= 1; got 0"),
        ({"rank": {"a": 3, "b": 0}}, "rank: must be >= 1; got 0"),
        ({"budget": {}}, "budget: needs either parameters or macs; got none"),
        ({"budget": {"macs": 5, "parameters": 5}}, "budget: needs either parameters or macs; got both"),
        ({"budget": {"params": 5}}, r"budget\.params: .*did you mean 'parameters'"),
        ({"rank": 1, "layers": []}, "layers: .*at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ranks(three(), **arguments)


def test_macs_need_a_known_shape():
    inputs = keras.Input((None, 4))
    with pytest.raises(ShapeError, match=r"depend on its input '.*' of shape \(None, None, 4\); give"):
        ranks(keras.Model(inputs, kl.Dense(9)(inputs)), budget={"macs": 10})


def test_the_section_has_the_arguments_of_the_function():
    section = LowRankConfig.model_validate({"budget": {"parameters": 60}, "layers": ["a", "b", "c"]})
    assert ranks(three(), **dict(section)) == ranks(three(), budget={"parameters": 60})
