"""Update rules against NumPy in float64; Keras's own numbers are in tests/parity."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet.errors import CheckpointError, RecipeError
from alexnet.recipe import Duration, Group, Optim
from alexnet.training import groups, muon, optim


class Small(nn.Module):
    """A hidden kernel, a norm's vector and a head, named as in a table."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.norm1 = nn.BatchNorm2d(4)
        self.fc8 = nn.Linear(4, 2)


def run(plan, gradients, factors, weights):
    """Apply a rule to one tensor called fc7.weight and return it after each step."""
    model = nn.Sequential()
    model.add_module("fc7", nn.Linear(len(weights), 1, bias=False))
    model.add_module("fc8", nn.Linear(1, 1, bias=False))
    parameter = model.fc7.weight
    parameter.data[:] = torch.tensor(weights)
    rule = optim.make(model, plan)
    seen = []
    for gradient, factor in zip(gradients, factors, strict=True):
        parameter.grad = torch.tensor(gradient).float()[None]
        groups.set_rate(rule, factor)
        rule.step()
        seen.append(parameter.detach().clone()[0].numpy())
    return np.array(seen)


GRADIENTS = np.random.default_rng(0).normal(size=(6, 5))
FACTORS = [1, 1, 1, 0.1, 0.1, 0.5]
START = [0.5, -0.5, 1.0, 0.0, 2.0]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_keras_sgd_keeps_the_rate_inside_the_velocity(nesterov, decay):
    w, v, expected = np.array(START), np.zeros(5), []
    for g, f in zip(GRADIENTS, FACTORS, strict=True):
        step = -0.1 * f * (g + decay * w)
        v = 0.9 * v + step
        w = w + (0.9 * v + step if nesterov else v)
        expected.append(w)
    plan = Optim(name="keras-sgd", lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=decay)
    np.testing.assert_allclose(run(plan, GRADIENTS, FACTORS, START), expected, rtol=2e-6, atol=1e-6)


def test_the_rule_of_2012_with_a_drop_of_the_rate_and_biases_of_their_own():
    """``inc = mom*inc - eps*wc*w - eps*grad; w += inc`` (weights.cu), for kernel and bias of a layer.

    Biases take twice the rate and no decay; the rate falls to a tenth half-way.
    """
    draw, model = np.random.default_rng(1), Small()
    plan = Optim(
        name="2012",
        lr=0.01,
        momentum=0.9,
        weight_decay=0.0005,
        group=(Group(match="*.bias", lr_factor=2.0, weight_decay=0.0),),
    )
    rule = optim.make(model, plan)
    ours = {"conv1.weight": (0.01, 0.0005), "conv1.bias": (0.02, 0.0), "fc8.weight": (0.01, 0.0005)}
    tensors = dict(model.named_parameters())
    w = {name: tensors[name].detach().double().numpy().copy() for name in ours}
    inc = {name: np.zeros_like(w[name]) for name in ours}
    for step in range(40):
        factor = 1.0 if step < 20 else 0.1
        for name, (eps, wc) in ours.items():
            grad = draw.normal(size=w[name].shape) * 10
            tensors[name].grad = torch.from_numpy(grad).float()
            inc[name] = 0.9 * inc[name] - wc * eps * factor * w[name] - eps * factor * grad
            w[name] += inc[name]
        groups.set_rate(rule, factor)
        rule.step()
    for name in ours:
        got = tensors[name].detach().numpy()
        np.testing.assert_allclose(got, w[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", sorted(optim.RULES))
def test_a_group_whose_time_is_over_stays_as_it_is(name):
    """Neither velocity nor decay moves it; the others go on."""
    until = Duration(1.5, "epochs")
    plan = Optim(name=name, lr=0.1, weight_decay=0.1, group=(Group(match="conv1.*", until=until),))
    model = Small()
    rule = optim.make(model, plan)
    moved = []
    for step in range(8):
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        groups.freeze(rule, step, steps_per_epoch=4, batch=10)
        rule.step()
        moved.append({n for n, p in model.named_parameters() if not torch.equal(p, before[n])})
    assert moved[:6] == [before.keys()] * 6
    assert moved[6:] == [before.keys() - {"conv1.weight", "conv1.bias"}] * 2


def test_a_group_that_never_began_is_no_fault_of_adam():
    """Epsilon at step 0 would be divided by nought."""
    model = Small()
    before = model.fc8.weight.detach().clone()
    rule = optim.make(model, Optim(name="keras-adam", group=(Group(match="fc8.*", lr_factor=2.0),)))
    for _ in range(2):
        model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
        rule.step()
    assert torch.equal(model.fc8.weight, before)
    assert float(rule.state[model.conv1.weight]["step"]) == 2


def test_a_group_drops_by_itself_besides_the_schedule():
    """As layers-145 ran: conv1 from .0001 to .00001 at epoch 67, the rest at 79; here 2, 3 and 4."""
    drops = (Duration(2, "epochs"), Duration(3, "epochs"))
    plan = Optim(lr=0.01, group=(Group(match="conv1.*", lr_factor=2.0, drops=drops),))
    rule = optim.make(Small(), plan)
    own, rest = sorted(rule.param_groups, key=lambda g: -len(g["drops"]))[:2]
    rates = []
    for step in (0, 7, 8, 11, 12, 16):
        groups.set_rate(rule, 0.1 if step >= 16 else 1.0)
        groups.drop(rule, step, 0.1, steps_per_epoch=4, batch=10)
        rates.append((own["lr"], rest["lr"]))
    assert [r for r, _ in rates] == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002, 0.00002])
    assert [r for _, r in rates] == pytest.approx([0.01] * 5 + [0.001])


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_keeps_the_rate_outside(nesterov):
    w, b, expected = np.array(START), np.zeros(5), []
    for g, f in zip(GRADIENTS, FACTORS, strict=True):
        g = g + 0.01 * w
        b = 0.9 * b + g
        w = w - 0.1 * f * (g + 0.9 * b if nesterov else b)
        expected.append(w)
    plan = Optim(name="sgd", lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01)
    np.testing.assert_allclose(run(plan, GRADIENTS, FACTORS, START), expected, rtol=2e-6, atol=1e-6)


def test_the_two_sgds_differ_after_a_drop_of_the_rate_as_measured():
    """Constant gradient 1, rate .1 then .01 after two steps: -.351 and -.644 after four (facts)."""
    ones = np.ones((4, 1))
    for name, expected in (("sgd", -0.351), ("keras-sgd", -0.644), ("2012", -0.644)):
        plan = Optim(name=name, lr=0.1, momentum=0.9)
        got = run(plan, ones, [1, 1, 0.1, 0.1], [0.0])[-1, 0]
        assert got == pytest.approx(expected, abs=6e-4), name


@pytest.mark.parametrize("name", ["adam", "keras-adam"])
def test_adam_puts_epsilon_where_its_framework_does(name):
    w, m, s, expected = np.array(START), np.zeros(5), np.zeros(5), []
    tiny = GRADIENTS * 1e-6  # where epsilon matters
    for t, (g, f) in enumerate(zip(tiny, FACTORS, strict=True), start=1):
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        first, second = 1 - 0.9**t, 1 - 0.999**t
        if name == "adam":
            w = w - 0.01 * f * (m / first) / (np.sqrt(s / second) + 1e-7)
        else:
            w = w - 0.01 * f * np.sqrt(second) / first * m / (np.sqrt(s) + 1e-7)
        expected.append(w)
    got = run(Optim(name=name, lr=0.01, eps=1e-7), tiny, FACTORS, START)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_rmsprop_has_epsilon_inside_the_root(centered, decay, scale):
    """Keras's ``update_step``: ``increment = lr * gradient * rsqrt(velocity + epsilon)``."""
    w, velocity, average, expected = np.array(START), np.zeros(5), np.zeros(5), []
    rho, epsilon = 0.8, 1e-6
    for g, f in zip(GRADIENTS * scale, FACTORS, strict=True):
        g = g + decay * w
        velocity = rho * velocity + (1 - rho) * np.square(g)
        denominator = velocity + epsilon
        if centered:
            average = rho * average + (1 - rho) * g
            denominator = denominator - np.square(average)
        w = w - 0.01 * f * g / np.sqrt(denominator)
        expected.append(w)
    plan = Optim(
        name="rmsprop", lr=0.01, rho=rho, eps=epsilon, centered=centered, weight_decay=decay
    )
    got = run(plan, GRADIENTS * scale, FACTORS, START)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_rmsprop_starts_with_the_constants_of_keras():
    """rho .9, epsilon 1e-7, not centered: the first step on a gradient of 1 is lr / sqrt(.1 + 1e-7)."""
    got = run(Optim(name="rmsprop", lr=0.001), np.ones((1, 1)), [1], [0.0])
    assert got[0, 0] == pytest.approx(-0.001 / np.sqrt(0.1 + 1e-7), rel=1e-6)
    tiny = run(Optim(name="rmsprop", lr=0.001), np.full((1, 1), 1e-8), [1], [0.0])
    assert tiny[0, 0] == pytest.approx(-0.001 * 1e-8 / np.sqrt(1e-7), rel=1e-5)  # torch: 2.4e-4


def test_rmsprop_gives_every_group_its_own_rate_and_decay():
    """Weights, biases and head of one network, each by the formula with the numbers of its group."""
    model, draw = Small(), np.random.default_rng(2)
    plan = Optim(
        name="rmsprop",
        lr=0.01,
        weight_decay=0.5,
        group=(Group(match="*.bias", lr_factor=2.0), Group(match="fc8.*", weight_decay=0.25)),
    )
    rule = optim.make(model, plan)
    ours = {"conv1.weight": (0.01, 0.5), "conv1.bias": (0.02, 0.0), "fc8.weight": (0.01, 0.25)}
    tensors = dict(model.named_parameters())
    w = {name: tensors[name].detach().double().numpy().copy() for name in ours}
    square = {name: np.zeros_like(w[name]) for name in ours}
    for _ in range(5):
        for name, (lr, decay) in ours.items():
            grad = draw.normal(size=w[name].shape)
            tensors[name].grad = torch.from_numpy(grad).float()
            whole = grad + decay * w[name]
            square[name] = 0.9 * square[name] + 0.1 * whole**2
            w[name] -= lr * whole / np.sqrt(square[name] + 1e-7)
        rule.step()
    for name in ours:
        got = tensors[name].detach().numpy()
        np.testing.assert_allclose(got, w[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_muon_moves_a_kernel_along_an_orthogonal_matrix():
    torch.manual_seed(0)
    model = Small()
    rule = optim.make(model, Optim(name="muon", lr=0.1, momentum=0.6, aux_lr=0.01))
    before = model.conv1.weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    rule.step()
    scaled = before * 2 / before.norm()  # sqrt(4 filters)
    moved = (scaled - model.conv1.weight.detach()).flatten(1) / 0.1
    values = torch.linalg.svdvals(moved)
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_orthogonalise_keeps_the_singular_vectors():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6)):
        matrix = torch.randn(shape)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        inner = left.T @ muon.orthogonalise(matrix, rounds=5).float() @ right.T
        off = inner - torch.diag(inner.diagonal())
        assert off.abs().max() < 0.05  # bf16
        assert inner.diagonal().min() > 0.6


def test_muon_gives_the_rest_to_adam_at_its_own_rate():
    model, twin = Small(), Small()
    twin.load_state_dict(model.state_dict())
    rule = optim.make(model, Optim(name="muon", lr=0.1, aux_lr=0.02, beta1=0.85, beta2=0.95))
    rest = [twin.fc8.weight, twin.fc8.bias, twin.conv1.bias, twin.norm1.weight, twin.norm1.bias]
    adam = torch.optim.Adam(rest, lr=0.01, betas=(0.85, 0.95), eps=1e-7)
    for _ in range(3):
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        groups.set_rate(rule, 0.5)
        rule.step()
        adam.step()
    torch.testing.assert_close(model.fc8.weight, twin.fc8.weight)
    torch.testing.assert_close(model.norm1.bias, twin.norm1.bias)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_muon_gives_the_rest_to_sgd_at_its_own_rate_and_momentum(momentum):
    """Nesterov's ``v = m*v + g; w -= lr*(g + m*v)`` (without momentum, ``w -= lr*g``), in NumPy."""
    model, aux = Small(), {"aux": "sgd", "aux_lr": 0.02, "aux_momentum": momentum}
    bare, both = Small(), Optim(name="muon", lr=0.1, momentum=0.6)
    bare.load_state_dict(model.state_dict())
    rule, alone = optim.make(model, both.model_copy(update=aux)), optim.make(bare, both)
    w, v = model.norm1.bias.detach().double().numpy().copy(), np.zeros(4)
    for _ in range(3):
        for ours, theirs in zip(model.parameters(), bare.parameters(), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        g = model.norm1.bias.grad.double().numpy()
        v = momentum * v + g
        w = w - 0.01 * (g + momentum * v)
        for each in (rule, alone):
            groups.set_rate(each, 0.5)
            each.step()
    np.testing.assert_allclose(model.norm1.bias.detach().numpy(), w, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.conv1.weight, bare.conv1.weight)  # Muon's part is Muon's
    kept = {key.rpartition("/")[2] for key in optim.memory_of(rule, model)}
    assert kept == ({"momentum", "momentum_buffer"} if momentum else {"momentum"})


def test_a_group_that_falls_leaves_the_schedule_for_a_line_to_its_end():
    plan = Optim(lr=0.2, group=(Group(match="conv1.*", until=Duration(2, "epochs"), falls=True),))
    rule = optim.make(Small(), plan)
    own, rest = sorted(rule.param_groups, key=lambda g: not g["falls"])[:2]
    seen = []
    for step in range(12):
        groups.set_rate(rule, 0.5)
        groups.drop(rule, step, 0.1, steps_per_epoch=5, batch=4)
        seen.append((own["lr"], rest["lr"]))
    line = [0.2 * (1 - step / 10) for step in range(10)] + [0.0, 0.0]
    np.testing.assert_allclose([lr for lr, _ in seen], line, atol=1e-12)
    assert {lr for _, lr in seen} == {0.1}


def test_a_fall_without_an_end_is_refused():
    plan = Optim(group=(Group(match="conv1.*", falls=True),))
    with pytest.raises(RecipeError, match=r"match = 'conv1\.\*' has falls = true and no until"):
        optim.make(Small(), plan)


@pytest.mark.parametrize(
    ("match", "refused"), [("conv*", True), ("fc8.*", False), ("*.bias", False)]
)
def test_muon_takes_no_decay_of_hidden_kernels(match, refused):
    plan = Optim(name="muon", group=(Group(match=match, weight_decay=0.001),))
    if not refused:
        optim.make(Small(), plan)
        return
    message = (
        r"match = 'conv\*' has weight_decay = 0.001, but muon sets the length of conv1\.weight"
    )
    with pytest.raises(RecipeError, match=message):
        optim.make(Small(), plan)


def test_decay_falls_on_kernels_alone_and_groups_overrule():
    plan = Optim(
        name="keras-sgd",
        lr=0.1,
        weight_decay=0.5,
        group=(Group(match="*.bias", lr_factor=2.0), Group(match="fc8.*", weight_decay=0.25)),
    )
    model = Small()
    names = {id(p): n for n, p in model.named_parameters()}
    found = {
        names[id(p)]: (g["peak_lr"], g["weight_decay"])
        for g in groups.grouped(model, plan)
        for p in g["params"]
    }
    assert found == {
        "conv1.weight": (0.1, 0.5),
        "conv1.bias": (0.2, 0.0),
        "norm1.weight": (0.1, 0.0),
        "norm1.bias": (0.2, 0.0),
        "fc8.weight": (0.1, 0.25),
        "fc8.bias": (0.2, 0.0),
    }


def test_what_is_not_trained_is_in_no_group():
    model = Small()
    model.conv1.weight.requires_grad_(False)
    members = [id(p) for g in groups.grouped(model, Optim()) for p in g["params"]]
    assert id(model.conv1.weight) not in members
    assert len(members) == 5


@pytest.mark.parametrize(
    ("name", "aux"), [*((name, "adam") for name in sorted(optim.RULES)), ("muon", "sgd")]
)
def test_memory_saved_and_restored_goes_on_to_the_same_bits(name, aux):
    def step(model, rule, draw):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=draw)
        rule.step()

    plan = Optim(name=name, lr=0.01, aux=aux)
    torch.manual_seed(0)
    model = Small()
    rule = optim.make(model, plan)
    for seed in (0, 1):
        step(model, rule, torch.Generator().manual_seed(seed))
    copy = Small()
    copy.load_state_dict(model.state_dict())
    other = optim.make(copy, plan)
    saved = {k: v.clone() for k, v in optim.memory_of(rule, model).items()}
    optim.restore_memory(other, copy, saved)
    for m, r in ((model, rule), (copy, other)):
        step(m, r, torch.Generator().manual_seed(2))
    for a, b in zip(model.parameters(), copy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_memory_of_another_network_is_refused():
    model = Small()
    rule = optim.make(model, Optim())
    with pytest.raises(CheckpointError, match="of another network"):
        optim.restore_memory(rule, model, {"conv9.weight/momentum_buffer": torch.zeros(3)})


def test_average_forgets_the_start_and_copies_statistics():
    kept, live = Small(), Small()
    live.norm1.running_mean.fill_(3.0)
    for step in range(200):
        optim.average((kept, live), 0.9, step)
    torch.testing.assert_close(kept.conv1.weight, live.conv1.weight)
    assert torch.equal(kept.norm1.running_mean, live.norm1.running_mean)


def test_average_is_the_exponential_mean():
    kept, live = nn.Linear(1, 1), nn.Linear(1, 1)
    kept.weight.data.fill_(1.0)
    live.weight.data.fill_(2.0)
    optim.average((kept, live), 0.9, step=1000)
    assert kept.weight.item() == pytest.approx(1.1)


def test_finite():
    assert optim.finite([torch.ones(3)])
    assert not optim.finite([torch.ones(3), torch.tensor([1.0, float("nan")])])
