"""Float32 matrix products by the library that is fast on this processor.

torch multiplies float32 matrices on x86 with MKL, whose AVX-512 kernels run on Intel's processors alone: on an AMD one
it reaches less than half of the peak, and oneDNN, which torch holds too, all of it. torch has no public way to ask for
oneDNN, so what is used here is private, and is used only where a check of it has passed.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

TESTED = ("2.13",)  # releases of torch whose private operator gave what torch.mm gives; others never reach it


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """`a @ b`, plus `bias` in each row; a (n, k), b (k, m), bias (m,), out (n, m)."""
    if _takes_onednn(a):
        result = _onednn(a, b, bias)
        return result if out is None else out.copy_(result)
    return torch.mm(a, b, out=out) if bias is None else torch.addmm(bias, a, b, out=out)


def accumulate_product(total: Tensor, a: Tensor, b: Tensor, beta: int, alpha: float) -> None:
    """`total = beta * total + alpha * a @ b` in place; `beta` is 0 (whatever stands in `total`) or 1."""
    if _takes_onednn(a):
        accumulate(total, _onednn(a, b, None), beta, alpha)
    else:
        torch.addmm(total, a, b, beta=beta, alpha=alpha, out=total)


def accumulate(total: Tensor, part: Tensor, beta: int, alpha: float) -> None:
    """`total = beta * total + alpha * part` in place; `beta` is 0 (whatever stands in `total`) or 1."""
    if beta:
        total.add_(part, alpha=alpha)
    else:
        total.copy_(part).mul_(alpha)


def _takes_onednn(a: Tensor) -> bool:
    return a.dtype == torch.float32 and a.device.type == "cpu" and use_onednn()


@cache
def use_onednn() -> bool:
    """Whether oneDNN multiplies here: an AMD processor, a tested version of torch, and right results."""
    tested = torch.__version__.rsplit(".", 1)[0] in TESTED
    return tested and _is_amd() and torch.backends.mkl.is_available() and _onednn_is_right()


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")


def _onednn_is_right() -> bool:
    """Small products in the layouts that heads use, against torch.mm."""
    a, b, bias = torch.linspace(-1, 1, 35).view(5, 7), torch.linspace(-1, 1, 21).view(7, 3), torch.ones(3)
    try:
        found = [
            _onednn(a, b, None),
            _onednn(a, b.t().contiguous().t(), bias),
            _onednn(a.t().contiguous().t(), b, bias),
        ]
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):  # it is gone, or takes other arguments
        return False
    expected = [a @ b, a @ b + bias, a @ b + bias]
    return all(torch.allclose(x, y, atol=1e-5) for x, y in zip(found, expected, strict=True))


def _is_amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(encoding="utf-8", errors="replace")
