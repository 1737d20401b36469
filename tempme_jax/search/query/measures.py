"""What queries score in an index that have nothing to do with it, and how much scores differ."""

import functools
import math
import threading
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.search.query.candidates import Candidates, sample_ids
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.scoring import MIN_SCORES, UnrelatedScores

if TYPE_CHECKING:
    from tempme_jax.search.query.late import LateSearch, Temper


class IndexMeasures:
    """Measures of one state of an index, each computed when it is first asked for."""

    def __init__(
        self,
        catalogue: Catalogue,
        candidates: Candidates,
        late: "LateSearch | None",
        texts: np.ndarray,
    ):
        """Measure the windows of candidates, by the vectors of unrelated texts, float32 [m, d]."""
        self._catalogue, self._candidates = catalogue, candidates
        self._late, self._texts = late, texts
        self._unrelated: dict[tuple[str, Temper | None], UnrelatedScores] = {}
        self._lock = threading.Lock()

    def measure_unrelated(self, kind: str, temper: "Temper | None" = None) -> UnrelatedScores:
        """Return the scores of unrelated queries.

        Args:
            kind: what they are, "text" or "video".
            temper: how texts are compared with frames; None for cosines.
        """
        find = self._candidates
        with self._lock:
            if (kind, temper) not in self._unrelated:
                if temper is not None and self._late:
                    best = self._late.measure_texts(self._texts, temper)
                else:
                    is_text = kind == "text"
                    best = find.measure_texts(self._texts) if is_text else find.measure_windows()
                self._unrelated[kind, temper] = UnrelatedScores(best)
            return self._unrelated[kind, temper]

    def measure_spread(self, vector: np.ndarray) -> float:
        """Return how much the scores of a query differ over the index; NaN for too few windows."""
        is_enough = len(self._sample) >= MIN_SCORES
        return float(np.std(self._sample @ vector)) if is_enough else math.nan

    @functools.cached_property
    def _sample(self) -> np.ndarray:
        """The vectors of some windows, evenly over contents and time, float32 [n, d]."""
        found = [self._candidates.find_window(window) for window in sample_ids(self._catalogue)]
        vectors = [np.asarray(one.vector, np.float32) for one in found if one is not None]
        return np.stack(vectors) if vectors else np.zeros((0, self._texts.shape[1]), np.float32)
