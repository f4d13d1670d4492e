"""Views of stored pictures against windows cut by NumPy, averaged in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.errors import UsageError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run.device import Device
from alexnet.run.views import log_probabilities, seen

CPU = Device(torch.device("cpu"), "float32")
PICTURES = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
)
PLAIN = Preprocessing(12, 12, "0..1")
CROP = Preprocessing(12, 8, "0..1", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "crop")


class Weighed(torch.nn.Module):
    """Three classes, each a fixed weighing of all pixels: every view has its own answer."""

    def forward(self, x):
        weights = torch.randn(3, x[0].numel(), generator=torch.Generator().manual_seed(0))
        return x.flatten(1) @ weights.T / 10


def answer(views):
    """The mean of softmax probabilities over NHWC views, in float64."""
    weights = torch.randn(3, views[0][0].size, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for view in views:
        flat = view.transpose(0, 3, 1, 2).reshape(len(view), -1)
        logits = flat @ weights.double().numpy().T / 10
        exp = np.exp(logits - logits.max(1, keepdims=True))
        total = total + exp / exp.sum(1, keepdims=True)
    return total / len(views)


def normalised(levels, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)):
    return (levels / 255.0 - np.array(mean)) / np.array(std)


def test_ten_views_are_corners_and_centre_each_mirrored():
    levels = PICTURES.numpy().astype(np.float64)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    five = [normalised(levels[:, t : t + 8, le : le + 8]) for t, le in places]
    expected = answer([v for view in five for v in (view, view[:, :, ::-1])])
    got = log_probabilities(Weighed(), PICTURES, CROP, CPU, views="ten").exp().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    centre = log_probabilities(Weighed(), PICTURES, CROP, CPU).exp().numpy()
    assert np.abs(got - centre).max() > 0.01, "or this test could not fail"


def test_ten_views_subtract_the_central_window_of_the_mean_picture():
    mean = np.random.default_rng(1).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    made = Preprocessing(12, 8, "0..255", fit="crop", mean_picture=torch.from_numpy(mean))
    levels = PICTURES.numpy().astype(np.float64)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    five = [levels[:, t : t + 8, le : le + 8] - mean[2:10, 2:10] for t, le in places]
    expected = [v for view in five for v in (view, view[:, :, ::-1])]
    got = [x.permute(0, 2, 3, 1).numpy() for x in seen(PICTURES, made, "ten")]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_flip_is_the_mean_probability_of_both_views():
    levels = normalised(PICTURES.numpy().astype(np.float64), (0,) * 3, (1,) * 3)
    got = log_probabilities(Weighed(), PICTURES, PLAIN, CPU, views="flip").exp().numpy()
    np.testing.assert_allclose(got, answer([levels, levels[:, :, ::-1]]), atol=1e-5)
    got = log_probabilities(Weighed(), PICTURES, PLAIN, CPU).exp().numpy()
    np.testing.assert_allclose(got, answer([levels]), atol=1e-5)


@pytest.mark.parametrize("made", [PLAIN, CROP], ids=["resize", "crop"])
def test_shift_is_the_mean_over_six_moved_and_mirrored_pictures(made):
    x = made(PICTURES).permute(0, 2, 3, 1).double().numpy()
    wider = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [wider[:, i : i + made.size, i : i + made.size] for i in range(3)]
    expected = answer([v for m in moved for v in (m, m[:, :, ::-1])])
    got = log_probabilities(Weighed(), PICTURES, made, CPU, views="shift").exp().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_scales_are_the_whole_picture_at_three_sides_each_mirrored():
    """At the side of what is stored, at 7/8 and at 9/8: 16, 14 and 18 pixels, by torch's own resize."""
    draw = np.random.default_rng(2)
    stored = torch.from_numpy(draw.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    made = Preprocessing(16, 16, "0..1", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    plain = torch.from_numpy(normalised(stored.numpy())).permute(0, 3, 1, 2).float()
    got = list(seen(stored, made, "scales"))
    assert [x.shape[-1] for x in got] == [16, 16, 14, 14, 18, 18]
    for n, side in enumerate((16, 14, 18)):
        x = F.interpolate(plain, (side, side), mode="bilinear", align_corners=False)
        torch.testing.assert_close(got[2 * n], x, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got[2 * n + 1], x.flip(3), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(got, seen(stored, made, "flip"), strict=False):
        assert torch.equal(ours, theirs), "the first two are those of flip"


def test_scales_need_a_network_of_any_size_and_whole_pictures():
    fixed = build(zoo.network("alexnet-cifar"), 32)
    with pytest.raises(UsageError, match=r"show pictures of 28, 32, 36 pixels, .* fit those of 32"):
        log_probabilities(fixed, PICTURES, Preprocessing(12, 32), CPU, views="scales")
    with pytest.raises(UsageError, match=r"needs input\.fit = 'resize'"):
        log_probabilities(Weighed(), PICTURES, CROP, CPU, views="scales")
    network = zoo.network("alexnet-bn", classes=3)
    free = build(network, 64).eval()
    found = log_probabilities(free, PICTURES, Preprocessing(12, 64), CPU, views="scales")
    each = [free(x).softmax(1) for x in seen(PICTURES, Preprocessing(12, 64), "scales")]
    torch.testing.assert_close(found.exp(), torch.stack(each).mean(0), atol=1e-5, rtol=1e-5)


def test_unknown_views_are_refused():
    with pytest.raises(UsageError, match="unknown views 'tne'; did you mean 'ten'"):
        log_probabilities(Weighed(), PICTURES, PLAIN, CPU, views="tne")


@pytest.mark.parametrize("made", [PLAIN, Preprocessing(12, 12, fit="crop"), Preprocessing(12, 8)])
def test_ten_views_need_a_border(made):
    with pytest.raises(UsageError, match=r"views 'ten' cuts .* which needs input\.fit = 'crop'"):
        log_probabilities(Weighed(), PICTURES, made, CPU, views="ten")
