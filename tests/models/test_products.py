"""Products through oneDNN where MKL is slow, and through torch.mm wherever that cannot be trusted."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from rnn_hf.models import products
from rnn_hf.models.heads import linear_cross_entropy
from rnn_hf.models.products import accumulate_product, product


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch.mm"])
def onednn(request, monkeypatch):
    if request.param and not products._onednn_is_right():
        pytest.skip("this torch lacks the oneDNN operator; a build for x86 runs it")
    monkeypatch.setattr(products, "use_onednn", lambda: request.param)
    calls, original = [], products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *args: calls.append(args) or original(*args))
    yield calls
    assert bool(calls) == request.param


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "bias"), [(1, 1, 1, True), (3, 5, 2, True), (130, 65, 300, False)]
)
def test_products_and_sums(onednn, rows, inner, columns, bias):
    b = torch.randn(columns, inner)
    bias = torch.randn(columns) if bias else None
    for a in (torch.randn(rows, inner), torch.randn(inner, rows).t(), torch.randn(rows, 2 * inner)[:, :inner]):
        expected = (a.double() @ b.double().t() + (0 if bias is None else bias)).float()
        out = torch.full((rows, 2 * columns), torch.nan)[:, ::2]  # a view of every second column
        torch.testing.assert_close(product(a, b.t(), bias), expected, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(product(a, b.t(), bias, out=out), expected, atol=2e-5, rtol=1e-5)
        assert not out.isnan().any()
        if bias is None:
            total = torch.full((rows, columns), torch.nan)  # new memory may hold anything
            accumulate_product(total, a, b.t(), 0, 0.5)
            accumulate_product(total, a, b.t(), 1, 2.0)
            torch.testing.assert_close(total, 2.5 * expected, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_the_head(onednn, bias):
    parameters = [torch.randn(shape, requires_grad=True) for shape in ((60, 24), (5000, 24), (5000,))]
    targets = torch.randint(5000, (60,))
    used = parameters if bias else parameters[:2]
    loss = linear_cross_entropy(*parameters[:2], parameters[2] if bias else None, targets)
    double = [p.detach().double().requires_grad_() for p in used]
    exact = F.cross_entropy(F.linear(*double), targets)
    torch.testing.assert_close(loss.double(), exact, atol=1e-5, rtol=1e-6)
    pairs = zip(torch.autograd.grad(loss, used), torch.autograd.grad(exact, double), strict=True)
    for ours, theirs in pairs:
        assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_other_types_stay_with_torch(monkeypatch):
    monkeypatch.setattr(products, "use_onednn", lambda: pytest.fail("asked for another type than float32"))
    for dtype in (torch.float64, torch.bfloat16):
        assert product(torch.ones(2, 3, dtype=dtype), torch.ones(3, 1, dtype=dtype)).tolist() == [[3], [3]]


def gone(*args):
    raise AttributeError("no operator _linear_pointwise")


@pytest.mark.parametrize(
    ("amd", "version", "operator", "taken"),
    [
        (True, "2.13.0+cpu", None, True),
        (False, "2.13.0+cpu", None, False),
        (True, "2.14.0", None, False),  # not tested yet
        (True, "2.1.0", None, False),
        (True, "2.13.1", gone, False),
        (True, "2.13.0", lambda a, b, bias: a @ b, False),  # forgets the bias
    ],
)
def test_the_operator_is_taken_only_where_it_was_tested_and_is_right(amd, version, operator, taken, monkeypatch):
    mm = lambda a, b, bias: a @ b if bias is None else torch.addmm(bias, a, b)  # noqa: E731
    monkeypatch.setattr(products, "_is_amd", lambda: amd)
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.backends, "mkl", SimpleNamespace(is_available=lambda: True))
    monkeypatch.setattr(products, "_onednn", operator or mm)
    assert products.use_onednn.__wrapped__() is taken
