"""Slow references of `merging.match` and `merging.merge`, a token at a time."""

import numpy as np


def match_slowly(metric, r, n_cls, size):
    """Match tokens like `merging.match`, one at a time."""
    n = len(metric)
    patches = range(n_cls, n)
    goers = [i for i in patches if i % 2 == 0]
    targets = [i for i in patches if i % 2 == 1]
    unit = metric / np.linalg.norm(metric, axis=1, keepdims=True)
    best = {}
    for i in goers:
        scores = [unit[i] @ unit[j] if size[j] > 0 else -np.inf for j in targets]
        best[i] = (np.inf if size[i] == 0 else max(scores), targets[int(np.argmax(scores))])
    sources = sorted(goers, key=lambda i: -best[i][0])[:r]  # a stable sort
    order = list(range(n_cls)) + [i for i in goers if i not in sources] + targets
    return np.array([order.index(best[i][1] if i in sources else i) for i in range(n)])


def merge_slowly(x, size, position, n_out):
    """Merge tokens like `merging.merge`, one at a time."""
    merged, total = np.zeros((n_out, x.shape[1])), np.zeros(n_out)
    for row, weight, p in zip(x, size, position, strict=True):
        if p >= 0:
            merged[p] += weight * row
            total[p] += weight
    return merged / np.where(total > 0, total, 1)[:, None], total
