"""Removed pixels are filled in from those around them: ROAD's linear imputation (Rong et al. 2022), without noise."""

from __future__ import annotations

from functools import cached_property
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

_TOLERANCE = 1e-4  # of the last correction; measured: it is 0.5 to 0.95 of the error that it corrects
_ITERATIONS = 60  # 4 to 8 are usual
_CHUNK = 8  # images at a time on a CPU, at most: more gain nothing and take memory
_SMALL = 64  # points of a grid that is solved directly
_HELD = 0.8  # of a grid's pull towards kept pixels, what the next coarser one feels; measured, 1 costs 2 iterations


@torch.no_grad()
def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Images (B×C×H×W, float32 or float64, colours in [0, 1]) with their removed pixels (B×H×W, bool) imputed.

    Every removed pixel is the weighted mean of its up to 8 neighbours, removed or not: u_i = Σ_j W_ij u_j / Σ_j W_ij,
    with W = 1/6 beside and 1/12 across (Rong et al. 2022, without the noise that they add). The result is within
    1e-4 of the exact solution; kept pixels stay as they are. Where nothing was kept the equations say nothing, and
    every pixel becomes the image's mean colour. An image's result does not depend on the others.

    With A = 12·(diag(ΣW) − W) the equations are A u = 0 at removed pixels: symmetric and positive definite, solved by
    conjugate gradients with one multigrid cycle as the preconditioner.
    """
    if removed.shape != (*images.shape[:1], *images.shape[2:]) or removed.dtype != torch.bool:
        raise ValueError(
            f"expected one boolean per pixel of images of shape {tuple(images.shape)}, "
            f"got {removed.dtype} of shape {tuple(removed.shape)}"
        )
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    rounds = max(1, ceil(len(images) / _CHUNK)) if images.device.type == "cpu" else 1
    chunk = max(1, ceil(len(images) / rounds))  # of equal size: one grid serves them all, or all but the last
    grid: _Grid | None = None
    chunks = (torch.split(each, chunk) for each in (result, images, removed[:, None]))
    for out, some, gone in zip(*chunks, strict=True):
        if grid is None or len(grid.r) != len(some):
            grid = _Grid(some)
        _solve(some.contiguous(), gone, grid, out)
    return result


def _solve(images: Tensor, removed: Tensor, grid: _Grid, out: Tensor) -> None:
    """The solution for a few images by preconditioned conjugate gradients, in the usual letters, into `out`.

    Colours are relative to their mean over kept pixels, which is also the first guess. An image is done when the
    largest change that the preconditioner proposes is small; it then waits, unchanged, for the others.
    """
    free, left = removed.to(images), images.masked_fill(removed, 0)
    height, width = images.shape[2:]
    count = height * width - free.sum((2, 3), keepdim=True)
    mean = left.sum((2, 3), keepdim=True) / count
    if not count.all():
        mean, free = torch.where(count > 0, mean, images.mean((2, 3), keepdim=True)), free * (count > 0)
    grid.start(free)
    d = grid.total
    z, r, (p, flat), x = grid.z, grid.r, grid.empty(), torch.zeros_like(grid.r)
    torch.sub(left, mean, out=p[..., :height, :width]).masked_fill_(removed, 0)
    r.copy_(grid.stencil(flat))
    p.zero_()
    tiny = torch.finfo(r.dtype).tiny  # an image without removed pixels has 0/0
    rz = torch.ones_like(mean[:, :1])
    for _ in range(_ITERATIONS):
        grid.cycle()
        size = torch.maximum(z.amax((1, 2, 3), keepdim=True), -z.amin((1, 2, 3), keepdim=True))
        unfinished = ~(size <= _TOLERANCE)  # NaN is not finished
        if not unfinished.any():
            x.add_(z)
            torch.where(removed, x[..., :height, :width] + mean, images, out=out)
            return
        before, rz = rz, _dot(r, z)
        torch.addcmul(z, p, rz / before.clamp(min=tiny), out=p)
        minus_ap = grid.stencil(flat).addcmul_(p, d, value=-1)
        alpha = unfinished * rz / (-_dot(p, minus_ap)).clamp(min=tiny)
        x.addcmul_(p, alpha)
        r.addcmul_(minus_ap, alpha)
    raise RuntimeError(f"imputation did not converge in {_ITERATIONS} iterations; are all pixels finite numbers?")


class _Grid:
    """A grid of the multigrid cycle and the coarser ones below it: A = diag(d) − S, S = [1,2,1]⊗[1,2,1].

    A grid is told f, how free each point is, and q, its pull towards kept pixels. On the finest f = 1 at removed pixels
    and 0 elsewhere, q = S(1 − f), and A is the system itself. With P the bilinear interpolation from a grid of half the
    size, the coarse grid has f = √(Pᵀf²/4) and q = 0.8·Pᵀq, and stands for diag(q + f·Sf) − f·S·f: almost what PᵀAP
    would be, at a fraction of its cost. Unknowns are scaled by f, so that every grid has the same S: d = Sf/f + q/f².

    Planes are stored flat with one or two empty columns and rows after each, which serve as the zeros around it: a
    shift of the picture is a shift of the memory, and one sum runs over all planes. Memory is taken and viewed once:
    on the small grids a slice costs as much as a sum.
    """

    def __init__(self, like: Tensor) -> None:
        batch, colours, *self._sides = like.shape
        height, width = (side + 2 - side % 2 for side in self._sides)
        self.shape = (batch, colours, height, width)
        self.f, self.w, self.scale = like.new_zeros(3, batch, 1, height, width).unbind()
        self.r = like.new_zeros(self.shape)
        self.z, self._flat = self.empty()
        (self._inner, ping), (_, pong) = self.empty(), self.empty()  # all else that a cycle makes lies in these two
        self._margin, n = ping[: width + 1], len(ping)
        sums = ping[: n - width], pong[: n - 2 * width], ping[: n - 2 * width - 1], pong[: n - 2 * width - 2]
        self._first, self._sum = sums[0], sums[3].view(self.shape)
        self._sums = [(a[by:], a[:-by], b) for a, b, by in zip(sums[:3], sums[1:], (width, 1, 1), strict=True)]
        self.coarse: _Grid | None = None
        if height * width <= _SMALL:
            unit = torch.eye(height * width, dtype=like.dtype, device=like.device)
            self._matrix = _blurred(unit.view(-1, 1, height, width)).flatten(1)
            return
        h, w = height // 2, width // 2
        self.coarse = coarse = _Grid(like.new_empty(1).expand(batch, colours, h, w))
        shifted = (ping[by : by + self.r.numel()].view(self.shape) for by in (0, width, 2 * width))
        self._above, self._at, self._below = (rows[..., ::2, :] for rows in shifted)  # from column −1 on
        half, even, odd = (flat[: self.r.numel() // 2].view(batch, colours, h, width) for flat in (pong, ping, pong))
        self._half, self._left, self._middle, self._right = half, half[..., ::2], half[..., 1::2], half[..., 2::2]
        self._r, self._z, self._scale = (each[..., :h, :w] for each in (coarse.r, coarse.z, coarse.scale))
        self._r_but_last, self._e = self._r[..., :-1], like.new_empty(batch, colours, h, w)
        self._columns = self._e[..., :-1], self._e[..., 1:]
        self._even_columns, self._odd_columns = even[..., ::2], even[..., 1:-1:2]
        self._rows, self._odd_rows = (even[..., :-1, :], even[..., 1:, :]), odd[..., :-1, :]
        self._added = [(self.z[..., i::2, :], new, self.f[..., i::2, :]) for i, new in enumerate((even, odd))]

    @cached_property
    def total(self) -> Tensor:
        """S·1: 16 inside, less at the border, 0 outside; of the finest grid alone."""
        inner = _blurred(self.f.new_ones(1, 1, *self._sides))
        return F.pad(inner, (0, self.shape[3] - self._sides[1], 0, self.shape[2] - self._sides[0]))

    def empty(self) -> tuple[Tensor, Tensor]:
        """Zero planes, and the flat memory that they lie in, with a row and a pixel more at either end."""
        batch, colours, height, width = self.shape
        flat = self.f.new_zeros(batch * colours * height * width + 2 * (width + 1))
        return flat[width + 1 : -width - 1].view(self.shape), flat

    def start(self, free: Tensor) -> None:
        """Take where the finest grid is free (B×1×H×W, ones and zeros), and pass on what coarser grids get of it."""
        height, width = free.shape[2:]
        self.f[..., :height, :width] = free
        torch.div(self.f, self.total - 4, out=self.w)  # S has 4 on the diagonal
        if self.coarse is None:
            self._invert(self.total)
            return
        neighbours = _blurred(_evened(free))
        pull = _blurred(_evened(free * (self.total[..., :height, :width] - neighbours[..., :height, :width])))
        self.coarse.load(*_halved(neighbours, pull))

    def load(self, f: Tensor, q: Tensor) -> None:
        """Take f and q (B×1×h×w) of a coarser grid, and pass on what still coarser ones get of them."""
        height, width = f.shape[2:]
        mine, scale, w = (each[..., :height, :width] for each in (self.f, self.scale, self.w))
        mine.copy_(f)
        some = f.sign()
        torch.div(some, f.clamp(min=torch.finfo(f.dtype).tiny), out=scale)
        neighbours, squares, pull = torch.split(_blurred(_evened(torch.cat([f, f * f, q], dim=1))), 1, dim=1)
        d = torch.addcmul(neighbours[..., :height, :width], scale, q).mul_(scale)
        if self.coarse is None:
            self._invert(F.pad(d, (0, self.shape[3] - width, 0, self.shape[2] - height)))
            return
        torch.div(some, d - 4, out=w)
        self.coarse.load(*_halved(squares, pull))

    def _invert(self, d: Tensor) -> None:
        free = self.f.flatten(1) > 0
        d = torch.where(free, d.flatten(1), 1)  # any number will do: only free points are inverted
        free = free[:, None] & free[:, :, None]
        self._inverse = torch.linalg.inv_ex(torch.diag_embed(d) - free * self._matrix).inverse * free

    def stencil(self, flat: Tensor) -> Tensor:
        """S u of planes in flat memory, by [1,1] twice along each side; valid until the next call."""
        row = self.shape[3]
        torch.add(flat[row:], flat[:-row], out=self._first)
        for one, other, out in self._sums:
            torch.add(one, other, out=out)
        return self._sum

    def cycle(self) -> None:
        """z ≈ A⁻¹ r: a step of Jacobi, the coarser grids, a step of Jacobi (undamped: it smooths this S by 3)."""
        r, z = self.r, self.z
        if self.coarse is None:
            torch.matmul(r.flatten(2), self._inverse, out=z.flatten(2))
            return
        torch.mul(r, self.w, out=z)
        torch.mul(self.stencil(self._flat).sub_(z, alpha=4), self.f, out=self._inner)
        self._restrict()
        self.coarse.cycle()
        self._interpolate()
        torch.mul(self.stencil(self._flat).sub_(z, alpha=4).add_(r), self.w, out=z)

    def _restrict(self) -> None:
        """The coarse r = Pᵀ(f·r) / f_coarse, P = [½,1,½]⊗[½,1,½]."""
        self._margin.zero_()  # the sums before left something there
        torch.add(self._at, self._above, alpha=0.5, out=self._half).add_(self._below, alpha=0.5)
        torch.add(self._middle, self._left, alpha=0.5, out=self._r)
        self._r_but_last.add_(self._right, alpha=0.5)
        self._r.mul_(self._scale)

    def _interpolate(self) -> None:
        """z += f·P(z_coarse / f_coarse)."""
        self._even_columns.copy_(torch.mul(self._z, self._scale, out=self._e))
        torch.lerp(*self._columns, 0.5, out=self._odd_columns)
        torch.lerp(*self._rows, 0.5, out=self._odd_rows)
        for z, new, f in self._added:
            z.addcmul_(new, f)


def _blurred(u: Tensor) -> Tensor:
    """S u = [1,2,1]⊗[1,2,1] u, with zeros around."""
    u = F.pad(u, (1, 1, 1, 1))
    u = u[..., 1:, :] + u[..., :-1, :]
    u = u[..., 1:, :] + u[..., :-1, :]
    u = u[..., 1:] + u[..., :-1]
    return u[..., 1:] + u[..., :-1]


def _evened(u: Tensor) -> Tensor:
    """Planes with a row and a column of zeros more where they have an even number of them."""
    return F.pad(u, (0, 1 - u.shape[3] % 2, 0, 1 - u.shape[2] % 2))


def _halved(squares: Tensor, pull: Tensor) -> tuple[Tensor, Tensor]:
    """f and q of a grid of half the size, of Sf² and Sq: S at every other point is 4·Pᵀ."""
    return squares[..., ::2, ::2].div(16).sqrt(), pull[..., ::2, ::2] * (_HELD / 4)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product.view(-1, 1, 1, 1)
