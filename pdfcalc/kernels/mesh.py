"""Loops over distances and the mesh on which they are laid; `pdfcalc.pdf.peaks` says what for."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.kernels import SAME_PLACE, compiled

STENCIL = 8
"""Mesh points between which a distance is shared."""
_BELOW = STENCIL // 2 - 1
MARGIN = 8
"""Mesh points below distance 0, even and enough for the shares of the shortest distances."""


@compiled
def image_distances(vectors, lattice, most, cutoff, diagonal):
    """Index of the vector and squared length of each image of vectors (C, 3) within the cutoff.

    Args:
        vectors: in A, with fractional coordinates from -1/2 to 1/2.
        lattice: (3, 3) cell vectors as rows, A.
        most: (3,) largest number of cells along each axis by which an image can be away.
        diagonal: longest diagonal of the cell, A.
    """
    shifts = np.empty(((2 * most[0] + 1) * (2 * most[1] + 1) * (2 * most[2] + 1), 3))
    farthest = cutoff + 0.5 * diagonal
    n_shifts = 0
    for a in range(-most[0], most[0] + 1):
        for b in range(-most[1], most[1] + 1):
            for c in range(-most[2], most[2] + 1):
                squared = 0.0
                for axis in range(3):
                    x = a * lattice[0, axis] + b * lattice[1, axis] + c * lattice[2, axis]
                    shifts[n_shifts, axis] = x
                    squared += x * x
                n_shifts += squared <= farthest * farthest
    member, squares = np.empty(1024, dtype=np.int32), np.empty(1024)
    count = 0
    for n in range(len(vectors)):
        if count + n_shifts > len(squares):
            room = 2 * len(squares) + n_shifts
            member, squares = _resized(member, room), _resized(squares, room)
        x, y, z = vectors[n]
        for image in range(n_shifts):
            dx, dy, dz = x + shifts[image, 0], y + shifts[image, 1], z + shifts[image, 2]
            squared = dx * dx + dy * dy + dz * dz
            member[count], squares[count] = n, squared
            # An image that doesn't count is overwritten by the next one.
            count += (squared < cutoff * cutoff) & (squared > SAME_PLACE**2)
    return member[:count], squares[:count]


@compiled
def _resized(array, size):
    larger = np.empty(size, dtype=array.dtype)
    # An assignment of slices would take a second to compile.
    for n in range(len(array)):
        larger[n] = array[n]
    return larger


@compiled
def _share(x, weight, shares):
    """Shares of a weight in the mesh points around it (Lagrange), x of a step past one of them."""
    a, b, c, d = x + 3, x + 2, x + 1, x
    e, f, g, h = x - 1, x - 2, x - 3, x - 4
    ab, cd, ef, gh = a * b, c * d, e * f, g * h
    low, high = weight * ab * cd, weight * ef * gh
    shares[0] = b * cd * high / -5040
    shares[1] = a * cd * high / 720
    shares[2] = ab * d * high / -240
    shares[3] = ab * c * high / 144
    shares[4] = low * f * gh / -144
    shares[5] = low * e * gh / 240
    shares[6] = low * ef * h / -720
    shares[7] = low * ef * g / 5040


@compiled
def _share_distance(distance, step, shares):
    """The first mesh point that shares in 1 / distance; the shares go to `shares`."""
    position = distance / step
    below = int(position)
    _share(position - below, 1 / distance, shares)
    return MARGIN + below - _BELOW


@compiled
def sum_groups(group, member, weights, n_groups):
    """(G, V) sums of weights (C, V): entry e adds row member[e] to group[e]."""
    sums = np.zeros((n_groups, weights.shape[1]))
    for e in range(len(group)):
        target, source = sums[group[e]], weights[member[e]]
        for column in range(len(source)):
            target[column] += source[column]
    return sums


@compiled
def spread(distances, weights, step, mesh):
    """Add weights (K, V) / distance to mesh (M, V), of which point MARGIN is at distance 0."""
    shares = np.empty(STENCIL)
    for k in range(len(distances)):
        start = _share_distance(distances[k], step, shares)
        source = weights[k]
        for s in range(STENCIL):
            share, target = shares[s], mesh[start + s]
            for column in range(len(source)):
                target[column] += share * source[column]


@compiled
def mesh_shares(distances, step):
    """(K,) first mesh point and (K, STENCIL) shares over distance, as `spread` adds them."""
    first, shares = np.empty(len(distances), np.int64), np.empty((len(distances), STENCIL))
    for k in range(len(distances)):
        first[k] = _share_distance(distances[k], step, shares[k])
    return first, shares


@compiled
def sum_gaussians(mesh, lowest, u_sums, stretch, step, k, size, reach, scale):
    """Sums of the Gaussians of weights on a mesh, at samples `k` mesh steps apart from 0.

    Args:
        mesh: (M, V) weights; the first MARGIN points lie below 0.
        lowest: the first point that holds a weight.
        u_sums: (V,) variance of the Gaussians of each sum where stretch is 1, rising.
        stretch: (M,) variance at each mesh point over u_sums.
        step: of the mesh.
        size: number of samples.
        reach: how far a Gaussian reaches over the square root of u_sum.
        scale: integral of each Gaussian.

    Returns:
        (V, size)
    """
    n_rows = len(u_sums)
    margin = -(-MARGIN // k)
    base = MARGIN - margin * k
    first = max(0, (lowest - base) // k)
    n_places = max(margin + size, margin + (len(mesh) - MARGIN) // k + 1) - first
    # The points at each place between two samples side by side.
    weights = np.zeros((n_rows, k, n_places))
    exponents = np.empty((k, n_places))
    for phase in range(k):
        for j in range(n_places):
            m = k * (j + first) + base + phase
            inside = min(max(m, 0), len(mesh) - 1)
            exponents[phase, j] = 0.5 * step * step / stretch[inside]
            if m == inside:
                height = scale / math.sqrt(2 * math.pi * stretch[m])
                for row in range(n_rows):
                    weights[row, phase, j] = mesh[m, row] * height
    pad = math.ceil(reach * math.sqrt(u_sums[n_rows - 1]) / (k * step))
    total = np.zeros((n_rows, first + n_places + 2 * pad))
    stop = 0
    while stop < n_rows:
        start = stop
        while stop < n_rows and u_sums[stop] == u_sums[start]:
            stop += 1
        n_steps = math.ceil(reach * math.sqrt(u_sums[start]) / (k * step))
        rows, sums = weights[start:stop], total[start:stop]
        _add_gaussians(rows, u_sums[start], exponents, n_steps, pad + first, sums)
    return total[:, pad + margin : pad + margin + size]


@compiled
def weighted_rows(weights, matrix):
    """(V, R) products of weights (V, M) with a matrix (M, R).

    A row is the same to the last bit whatever the others are, which BLAS does not promise.
    """
    products = np.zeros((weights.shape[0], matrix.shape[1]), dtype=matrix.dtype)
    whole = len(matrix) // 8 * 8
    # Eight at a time stay in the nearest cache while all rows use them.
    for m in range(0, whole, 8):
        for v in range(len(weights)):
            product = products[v]
            a, b, c, d = weights[v, m], weights[v, m + 1], weights[v, m + 2], weights[v, m + 3]
            e, f, g, h = weights[v, m + 4], weights[v, m + 5], weights[v, m + 6], weights[v, m + 7]
            for j in range(len(product)):
                low = a * matrix[m, j] + b * matrix[m + 1, j]
                low += c * matrix[m + 2, j] + d * matrix[m + 3, j]
                high = e * matrix[m + 4, j] + f * matrix[m + 5, j]
                high += g * matrix[m + 6, j] + h * matrix[m + 7, j]
                product[j] += low + high
    for m in range(whole, len(matrix)):
        for v in range(len(weights)):
            for j in range(matrix.shape[1]):
                products[v, j] += weights[v, m] * matrix[m, j]
    return products


@compiled
def _add_gaussians(weights, u_sum, exponents, n_steps, middle, total):
    """Add the Gaussians of weights (V, k, J) to total (V, ...), the first at sample `middle`.

    One mesh step from its peak a Gaussian is e = exp(-exponents / u_sum) of its height, and after
    n steps e^(n^2). So its values at samples k mesh steps apart follow from two ratios: v *= q,
    q *= c.
    """
    n_rows, k, size = weights.shape
    exponent, first_decay, decay = np.empty(size), np.empty(size), np.empty(size)
    whole, part, scratch = np.empty(size), np.empty(size), np.empty(size)
    value, ratio, change = np.empty(size), np.empty(size), np.empty(size)
    per_u, norm = 1 / u_sum, 1 / math.sqrt(u_sum)
    for phase in range(k):
        # e hardly differs between neighbours on the mesh, so that a short series does for all but
        # the first phase.
        for j in range(size):
            x = exponents[phase, j] * per_u
            if phase == 0:
                exponent[j], first_decay[j] = x, math.exp(-x)
            d = x - exponent[j]
            decay[j] = first_decay[j] * (1 - d * (1 - d / 2 * (1 - d / 3 * (1 - d / 4))))
        _power(decay, k * k, whole, scratch)
        for j in range(size):
            change[j] = whole[j] * whole[j]
        for side in range(2):
            # First the samples at or below the peak, then those above: how many mesh steps away.
            away = phase if side == 0 else k - phase
            _power(decay, away, part, scratch)
            _power(part, away, value, scratch)
            _power(part, 2 * k, ratio, scratch)
            for j in range(size):
                value[j] *= norm
                ratio[j] *= whole[j]
            for t in range(n_steps):
                start = middle - t if side == 0 else middle + 1 + t
                for row in range(n_rows):
                    here, weight = total[row, start : start + size], weights[row, phase]
                    for j in range(size):
                        here[j] += weight[j] * value[j]
                for j in range(size):
                    value[j] *= ratio[j]
                    ratio[j] *= change[j]


@compiled
def _power(base, exponent, result, square):
    """result = base ** exponent, elementwise; `square` is scratch."""
    for j in range(len(base)):
        result[j] = 1.0
        square[j] = base[j]
    while exponent > 0:
        if exponent & 1:
            for j in range(len(base)):
                result[j] *= square[j]
        exponent >>= 1
        if exponent > 0:
            for j in range(len(base)):
                square[j] *= square[j]
