"""List of the results below a URL, as a document and as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from maskrcnn_trainer.artifacts.names import ArtifactName
from maskrcnn_trainer.artifacts.overview import Overview, files_table, overview_document, overview_table
from maskrcnn_trainer.artifacts.reading import ResultsSource, read_overview, read_set
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import PublishedSet

NOTHING_BELOW = "no experiment has results directly below it; give the URL of --workspace, to which names are relative"
"""Sentence about a URL."""


@dataclass(frozen=True)
class ListedResults:
    """Results below a URL.

    Attributes:
        overview: of the experiments.
        name: experiment, step, or path that was asked for.
        published: current files of the step that was asked for; None if it was none.
    """

    overview: Overview
    name: ArtifactName | None = None
    published: PublishedSet | None = None

    @property
    def document(self) -> dict[str, Any]:
        """Return the document of ``list --json``."""
        document = overview_document(self.overview)
        if self.name is not None and self.published is not None:
            steps = document["experiments"].get(self.name.experiment, {}).get("steps", {})
            # it may have been deleted between the two reads
            if current := steps.get(self.name.step, {}).get("current"):
                current["paths"] = [
                    {"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in self.published.files
                ]
        return document

    def absence(self, url: str) -> str:
        """Return a sentence about what isn't below a URL, with URL or NAME before it; empty if a list can be shown."""
        name = self.name
        if name is None:
            is_empty = not self.overview.experiments and self.overview.complete
            return f"URL: {NOTHING_BELOW}" if is_empty else ""
        if name.experiment not in self.overview.experiments:
            return f"NAME: {name.experiment} has no results below {url} yet"
        if self.published is not None and not self.published.files and name.path is not None:
            return f"NAME: {name.experiment}/{name.step} has no {name.path}"
        return ""

    @property
    def table(self) -> str:
        """Return the tables for people."""
        files = "" if self.published is None else f"\n{files_table(self.published)}"
        return f"{overview_table(self.overview)}{files}"


def list_results(store: ResultsSource, name: ArtifactName | None) -> ListedResults:
    """Return the results below a URL, with the files of a step if ``name`` is one.

    Raises:
        InvalidInput: the store refuses, or the step has no results.
        TryAgain: the store is unavailable.
    """
    overview = read_overview(store, name)
    if name is None or name.step is None:
        return ListedResults(overview, name)
    published = read_set(store.sender(), StepKeys(name.experiment, name.step))
    selected = tuple(file for file in published.files if name.selects(file.path))
    return ListedResults(overview, name, replace(published, files=selected))
