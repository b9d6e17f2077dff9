"""Distillation: losses against NumPy, targets and features through `fit` and the engine, teachers of both kinds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers as kl

from tests.gradients import gradient
from weft.compression.distil import Distillation, Layout, distil, distillation, teacher_outputs, with_features
from weft.config.distil import DistilConfig, FeaturePair
from weft.errors import ConfigError, DataError, ShapeError, UnsupportedError

pytestmark = pytest.mark.backends

numpy, tensor = keras.ops.convert_to_numpy, keras.ops.convert_to_tensor
logits = st.floats(-8, 8, width=32, allow_subnormal=False)


def softmax(v: np.ndarray) -> np.ndarray:
    e = np.exp(v.astype(np.float64) - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@given(
    arrays(np.float32, (2, 3, 2, 4), elements=logits),
    arrays(np.int32, (3, 2), elements=st.integers(0, 3)),
    st.floats(0.5, 8),
    st.floats(0, 1),
)
@settings(max_examples=40)
def test_classes_at_any_rank(both, labels, temperature, alpha):
    teacher, student = both
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = temperature**2 * (p * np.log(p / q)).sum(-1)
    hard = -np.log(np.take_along_axis(softmax(student), labels[..., None], -1)[..., 0])
    expected = (alpha * soft + (1 - alpha) * hard).mean(-1)
    for given_labels in (labels, labels[..., None], np.eye(4, dtype=np.float32)[labels]):
        found = distillation(tensor(teacher), tensor(student), tensor(given_labels), temperature, alpha)
        np.testing.assert_allclose(numpy(found), expected, rtol=1e-3, atol=1e-4)


@given(arrays(np.float32, (2, 3, 2), elements=logits), arrays(np.int32, (3, 2), elements=st.integers(0, 1)))
@settings(max_examples=30)
def test_two_states_for_each_logit(both, labels):
    teacher, student = both
    with np.errstate(over="ignore"):
        p, q, one = (1 / (1 + np.exp(-v.astype(np.float64))) for v in (teacher / 3, student / 3, student))
    soft = 9 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    hard = -np.log(np.where(labels == 1, one, 1 - one))
    found = distillation(tensor(teacher), tensor(student), tensor(labels), 3.0, 0.6, "binary")
    np.testing.assert_allclose(numpy(found), (0.6 * soft + 0.4 * hard).mean(-1), rtol=1e-3, atol=1e-4)


@given(arrays(np.float32, (3, 4, 1), elements=logits))
@settings(max_examples=20)
def test_regression_is_near_the_teacher_and_near_the_labels(three):
    teacher, student, labels = three
    expected = 0.3 * (student - teacher) ** 2 + 0.7 * (student - labels) ** 2
    found = distillation(tensor(teacher), tensor(student), tensor(labels[:, 0]), 4.0, 0.3, "regression")
    np.testing.assert_allclose(numpy(found), expected[:, 0], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_teachers_part_is_t_times_the_difference_of_probabilities():
    teacher, student = np.random.default_rng(0).normal(0, 2, (2, 3, 5)).astype(np.float32)
    labels = np.array([0, 1, 2])
    (found,) = gradient(lambda s: keras.ops.sum(distillation(tensor(teacher), s, tensor(labels), 4.0, 1.0)), student)
    np.testing.assert_allclose(found, 4 * (softmax(student / 4) - softmax(teacher / 4)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "keras_loss", "shape", "labels"),
    [
        ("classification", keras.losses.SparseCategoricalCrossentropy(from_logits=True), (6, 3), (6,)),
        ("classification", keras.losses.SparseCategoricalCrossentropy(from_logits=True), (6, 4, 3), (6, 4)),
        ("binary", keras.losses.BinaryCrossentropy(from_logits=True), (6, 2), (6, 2)),
        ("regression", keras.losses.MeanSquaredError(), (6, 2), (6, 2)),
    ],
)
def test_without_the_teacher_it_is_the_loss_of_keras_weights_and_all(task, keras_loss, shape, labels):
    rng = np.random.default_rng(1)
    student, teacher = (rng.normal(0, 2, shape).astype(np.float32) for _ in range(2))
    y = rng.normal(size=labels).astype(np.float32) if task == "regression" else rng.integers(0, 2, labels)
    weight = rng.uniform(0, 2, 6).astype(np.float32)
    layout = Layout(labels[1:], shape[1:])
    loss = Distillation(layout, task, alpha=0.0)
    for each in (None, weight):
        mine = float(loss(layout.pack(y, teacher), tensor(student), each))
        if len(shape) == 3 and each is not None:  # Keras divides by positions and rows alike
            theirs = np.mean([each[i] * float(keras_loss(y[i], tensor(student[i]))) for i in range(6)])
        else:
            theirs = float(keras_loss(y, tensor(student), each))
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_equal_logits_cost_nothing_and_differences_do_however_large():
    student = np.array([[40.0, -40.0, 0.0]], np.float32) * 5
    for task in ("classification", "binary", "regression"):
        labels = np.array([0]) if task == "classification" else np.zeros((1, 3), np.float32)
        same, other = (
            numpy(distillation(tensor(t), tensor(student), labels, 1.0, 1.0, task)) for t in (student, -student)
        )
        assert same == pytest.approx(0, abs=1e-5)
        assert np.isfinite(other).all()
        assert other > 10


def test_what_is_packed_is_unpacked_and_classes_stay_exact():
    rng = np.random.default_rng(2)
    layout = Layout((), (2, 3), ((4,), (2, 2)))
    labels = np.array([2**24 - 1, 0, 7])
    parts = [rng.normal(size=(3, *shape)).astype(np.float32) for shape in ((2, 3), (4,), (2, 2))]
    packed = layout.pack(labels, parts[0], parts[1:])
    assert packed.shape == (3, 1 + 6 + 4 + 4)
    assert packed.dtype == np.float32
    found, teacher, features = layout.targets(tensor(packed))
    np.testing.assert_array_equal(numpy(found), labels)
    for one, other in zip((teacher, *features), parts, strict=True):
        np.testing.assert_array_equal(numpy(one), other)


# Students and teachers


def net(widths: tuple[int, ...], name: str, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((4,))
    for n, width in enumerate(widths):
        x = kl.Dense(width, activation="relu", name=f"{name}{n}")(x)
    return keras.Model(inputs, kl.Dense(3, name=f"{name}_out")(x), name=name)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(48, 4)).astype(np.float32), rng.integers(0, 3, 48)


def config(**options) -> DistilConfig:
    return DistilConfig.model_validate(options)


PAIRS = [{"student": "s0", "teacher": "t0"}, {"student": "s1", "teacher": "t1", "weight": 0.5}]


def test_features_are_in_the_loss_and_only_in_training(rows):
    x, y = rows
    student, teacher = net((5, 6), "s", 1), net((5, 6), "t", 2)
    made = distil(student, teacher, x, y, config(features=PAIRS, alpha=0.7, temperature=4.0))
    np.testing.assert_array_equal(numpy(made.model(x, training=False)), numpy(student(x)))
    assert made.model.output_shape == student.output_shape
    assert [v.path for v in made.model.trainable_variables] == [v.path for v in student.trainable_variables]

    def layers(model, name):
        first = np.maximum(x @ numpy(model.get_layer(f"{name}0").kernel), 0)
        second = np.maximum(first @ numpy(model.get_layer(f"{name}1").kernel), 0)
        return first, second, second @ numpy(model.get_layer(f"{name}_out").kernel)

    (s0, s1, mine), (t0, t1, theirs) = layers(student, "s"), layers(teacher, "t")
    p, q = softmax(theirs / 4), softmax(mine / 4)
    hard = -np.log(softmax(mine)[np.arange(48), y])
    expected = 0.7 * 16 * (p * np.log(p / q)).sum(-1) + 0.3 * hard
    outputs = made.model(x, training=False)
    assert float(numpy(made.loss(made.targets, outputs))) == pytest.approx(expected.mean(), rel=1e-4)
    expected += ((s0 - t0) ** 2).mean(-1) + 0.5 * ((s1 - t1) ** 2).mean(-1)
    outputs = made.model(x, training=True)
    assert float(numpy(made.loss(made.targets, outputs))) == pytest.approx(expected.mean(), rel=1e-4)


def test_training_with_fit_brings_the_student_to_its_teacher(rows):
    x, y = rows
    student, teacher = net((5, 8), "s", 1), net((5, 6), "t", 2)
    before = [numpy(v).copy() for v in teacher.weights]
    made = distil(student, teacher, x, y, config(features=PAIRS, project=True, alpha=1.0))
    extra = {v.path for v in made.model.trainable_variables} - {v.path for v in student.trainable_variables}
    assert extra == {"s1_projection/kernel"}
    made.model.compile(keras.optimizers.Adam(0.02), made.loss)
    history = made.model.fit(x, made.targets, batch_size=16, epochs=15, validation_data=(x, made.targets), verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    start, end, wanted = (softmax(numpy(model(x))) for model in (net((5, 8), "s", 1), student, teacher))
    assert np.abs(end - wanted).mean() < 0.6 * np.abs(start - wanted).mean()
    for value, variable in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(numpy(variable), value)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the compiled engine runs on JAX")
def test_the_compiled_engine_trains_on_features_and_gives_the_weights_of_fit(rows):
    from weft.train.engine import Engine

    x, y = rows
    teacher = net((5, 6), "t", 2)
    both = [distil(net((5, 8), "s", 1), teacher, x, y, config(features=PAIRS, project=True)) for _ in range(2)]
    both[1].model.set_weights(both[0].model.get_weights())
    engine = Engine(both[0].model, keras.optimizers.Adam(0.01), both[0].loss)
    order = np.arange(48, dtype=np.int32).reshape(3, 16)
    control = {"learning_rate": np.full(3, 0.01, np.float32)}
    state, losses = engine.epoch(engine.state(), engine.put(x, both[0].targets), order, control)
    assert engine.predict(state, x).shape == (48, 3)
    assert np.isfinite(losses).all()
    engine.write_back(state)
    both[1].model.compile(keras.optimizers.Adam(0.01), both[1].loss)
    both[1].model.fit(x, both[1].targets, batch_size=16, shuffle=False, verbose=0)
    for mine, theirs in zip(both[0].model.get_weights(), both[1].model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_quantised_student_learns_from_features_too(rows):
    from weft.config.numbers import HgqNumbers
    from weft.quantize.convert import convert

    x, y = rows
    teacher = net((5, 6), "t", 2)
    student = convert(net((5, 6), "s", 1), HgqNumbers())
    made = distil(student, teacher, x, y, config(features=PAIRS))
    made.model.compile(keras.optimizers.Adam(0.01), made.loss)
    before = numpy(student.get_layer("s0").kernel).copy()
    history = made.model.fit(x, made.targets, batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert (numpy(student.get_layer("s0").kernel) != before).any()


def test_a_sequential_student_and_a_layer_that_other_models_use_too(rows):
    x, y = rows
    shared = kl.Dense(5, name="shared")
    inputs = keras.Input((4,))
    keras.Model(inputs, shared(inputs))  # its first call belongs to this model
    student = keras.Sequential([keras.Input((4,)), shared, kl.Dense(3, name="out")])
    made = distil(student, net((5,), "t", 2), x, y, config(features=[{"student": "shared", "teacher": "t0"}]))
    assert made.model(x, training=True).shape == (48, 3 + 5)


def test_everything_survives_saving(rows, tmp_path):
    x, y = rows
    made = distil(net((5, 8), "s", 1), net((5, 6), "t", 2), x, y, config(features=PAIRS, project=True))
    made.model.compile("sgd", made.loss)
    made.model.fit(x, made.targets, verbose=0)
    made.model.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert loaded.loss.get_config() == made.loss.get_config()
    assert loaded.loss.layout == made.loss.layout
    outputs = made.model(x, training=True)
    np.testing.assert_array_equal(numpy(loaded(x, training=True)), numpy(outputs))
    assert float(numpy(loaded.loss(made.targets, outputs))) == float(numpy(made.loss(made.targets, outputs)))


def test_a_teacher_can_be_a_file(rows, tmp_path):
    x, y = rows
    teacher = net((5,), "t", 2)
    teacher.save(tmp_path / "teacher.keras")
    one = distil(net((5,), "s", 1), None, x, y, config(teacher=str(tmp_path / "teacher.keras")))
    two = distil(net((5,), "s", 1), teacher, x, y, config())
    np.testing.assert_array_equal(one.targets, two.targets)


def torch_teacher():
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5))
            self.out = torch.nn.Linear(6, 3)

        def forward(self, x):
            return self.out(self.hidden(x))

    torch.manual_seed(0)
    return Net()


def test_a_torch_module_teaches_on_every_backend_and_keeps_its_modes(rows):
    x, y = rows
    teacher = torch_teacher()
    teacher.out.eval()
    outputs, (hidden,) = teacher_outputs(teacher, x, ["hidden"], batch_size=20)
    w = {name: value.detach().numpy() for name, value in teacher.state_dict().items()}
    expected = np.maximum(x @ w["hidden.0.weight"].T + w["hidden.0.bias"], 0)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs, expected @ w["out.weight"].T + w["out.bias"], rtol=1e-5, atol=1e-5)
    assert (teacher.training, teacher.hidden.training, teacher.out.training) == (True, True, False)
    assert not teacher.hidden._forward_hooks
    made = distil(net((6,), "s", 1), teacher, x, y, config(features=[{"student": "s0", "teacher": "hidden"}]))
    assert made.targets.shape == (48, 1 + 3 + 6)
    with pytest.raises(ConfigError, match=r"the teacher has no layer 'hiden' .*did you mean 'hidden'"):
        teacher_outputs(teacher, x, ["hiden"])


def test_a_teacher_of_another_kind_is_refused(rows):
    x, y = rows
    with pytest.raises(UnsupportedError, match=r"a Keras model or a torch\.nn\.Module; got function"):
        distil(net((5,), "s", 1), lambda x: x, x, y, config())
    with pytest.raises(ConfigError, match=r"needs a teacher: set distil\.teacher"):
        distil(net((5,), "s", 1), None, x, y, config())
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [kl.Dense(3)(inputs), kl.Dense(3)(inputs)], name="two")
    with pytest.raises(UnsupportedError, match="teacher 'two' has several outputs"):
        distil(net((5,), "s", 1), two, x, y, config())
    with pytest.raises(UnsupportedError, match="student 'two' has 2 outputs; distillation is for one"):
        distil(two, net((5,), "t", 1), x, y, config())
    torch = pytest.importorskip("torch")
    lstm = torch.nn.LSTM(4, 3)
    with pytest.raises(UnsupportedError, match="the teacher gives a tuple, and distillation needs one tensor"):
        distil(net((5,), "s", 1), lstm, x, y, config())


def test_probabilities_are_refused_and_logits_are_not(rows):
    x, y = rows
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Softmax()(net((5,), "t", 2)(inputs)))
    with pytest.raises(DataError, match=r"are probabilities \(from .* to .*\).*take the softmax or sigmoid off"):
        distil(net((5,), "s", 1), model, x, y, config())
    model = keras.Model(inputs, kl.Activation("sigmoid")(net((5,), "t", 2)(inputs)))
    with pytest.raises(DataError, match="are probabilities"):
        distil(net((5,), "s", 1), model, x, np.zeros((48, 3)), config(), "binary")
    distil(net((5,), "s", 1), model, x, np.zeros((48, 3)), config(), "regression")


def test_what_does_not_fit_is_named(rows):
    x, y = rows
    student, teacher = net((5, 8), "s", 1), net((5, 6), "t", 2)
    with pytest.raises(
        ConfigError, match=r"'s1' gives \(8,\) .* 't1' gives \(6,\); choose others, or set project: true"
    ):
        distil(student, teacher, x, y, config(features=PAIRS))
    with pytest.raises(ConfigError, match=r"'t' has no layer 't7' .*it has t0, t1, t_out"):
        distil(student, teacher, x, y, config(features=[{"student": "s0", "teacher": "t7"}]))
    with pytest.raises(ConfigError, match=r"'s' has no layer 'so'"):
        distil(student, teacher, x, y, config(features=[{"student": "so", "teacher": "t0"}]))
    with pytest.raises(ConfigError, match="differ in the last axis only"):
        with_features(student, [FeaturePair(student="s0", teacher="t0")], [(2, 5)], project=True)
    inputs = keras.Input((4,))
    with pytest.raises(ShapeError, match=r"teacher gives \(2,\) for each sample and the student 's' \(3,\)"):
        distil(student, keras.Model(inputs, kl.Dense(2)(inputs)), x, y, config())
    teacher.get_layer("t0").kernel.assign(np.full((4, 5), np.nan, np.float32))
    with pytest.raises(DataError, match="the teacher's output is not finite for row 0"):
        distil(student, teacher, x, y, config())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"temperature": 0}, "greater than 0"),
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"features": [{"student": "a"}]}, "teacher"),
        ({"features": [{"student": "a", "teacher": "b", "weight": 0}]}, "greater than 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(section, message):
    with pytest.raises(ValueError, match=message):
        DistilConfig.model_validate(section)
