"""What a run has come to: counts for its report, and the files that could not be indexed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tempme_jax.search.indexing.plan import Work
from tempme_jax.search.indexing.report import Failure, IndexReport, write_failures
from tempme_jax.search.indexing.survey import Survey, VideoFolder, select_shard
from tempme_jax.search.indexing.walk import label_suffix
from tempme_jax.search.paths import is_remote
from tempme_jax.search.store.rows import PASSED_OVER, FileRow
from tempme_jax.search.store.store import Store


def count_known(report: IndexReport, work: Work, gone: list[FileRow]) -> None:
    """Count the files whose content has windows already, and those that are gone."""
    contents = Counter(row.content for row in gone if row.content)
    known = Counter(row.content for row in work.rows if row.content)
    report.moved = (contents & known).total()
    report.known = known.total() - report.moved
    report.gone = len(gone) - report.moved
    report.reasons = dict(work.reasons)


def report_failures(
    report: IndexReport,
    store: Store,
    survey: Survey,
    place: VideoFolder,
    shard: tuple[int, int] | None,
    others: Sequence[Failure] = (),
) -> None:
    """Count what could not be indexed or is no video, and write the list of failures.

    `others` are those that are no files of the index.
    """
    rows = list_failed_rows(store, place, shard)
    report.failures = sorted([*list_failures(rows, survey), *others])
    count_others(report, rows, survey)
    if not is_remote(store.uri):
        write_failures(report.failures, locate_failures_file(store.uri, shard))


def list_failed_rows(
    store: Store, place: VideoFolder, shard: tuple[int, int] | None
) -> list[FileRow]:
    """List the rows of all files of a folder that could not be indexed, by this run or before."""
    rows = [row for row in store.read_files() if row.root == place.root and row.reason]
    return select_shard(rows, shard) if shard else rows


def list_failures(rows: list[FileRow], survey: Survey) -> list[Failure]:
    """List all files of a folder that could not be indexed, but those that are no videos."""
    failures = [Failure(r.path, r.reason, r.stage) for r in rows if r.stage != PASSED_OVER]
    failures += [Failure(path, reason, "walk") for path, reason in survey.content.skipped]
    return sorted(failures)


def count_others(report: IndexReport, rows: list[FileRow], survey: Survey) -> None:
    """Count the files that are something else than videos, and what was left out."""
    kinds = (f"{label_suffix(r.path)} ({r.reason})" for r in rows if r.stage == PASSED_OVER)
    report.passed_over = survey.content.passed_over + Counter(kinds)
    report.left_out = Counter(label for _, label in survey.content.left_out)
    report.withdrawn = sum(not row.reason for row in survey.difference.left_out)
    report.unused = survey.content.unused


def locate_failures_file(uri: str, shard: tuple[int, int] | None) -> Path:
    """Return the path of failed.jsonl, or of the file that a shard writes instead."""
    name = f"failed-{shard[0]}-of-{shard[1]}.jsonl" if shard else "failed.jsonl"
    return Path(uri) / name
