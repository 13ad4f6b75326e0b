"""Contract for lint-imports that forbids all external packages except a list of allowed ones.

import-linter's own contracts list forbidden packages, but a list of all packages that read files or open connections
would never be complete. See https://import-linter.readthedocs.io/en/stable/custom_contract_types.html.
"""

from __future__ import annotations

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowedPackages(Contract):
    """Contract that source packages, and their imports from this project, import only listed external packages.

    Options:
        source_modules: packages or modules, including everything in them.
        allowed_packages: top-level names of packages in the standard library or other distributions.
        standard_library: whether all of the standard library is allowed (default: no).
        exceptions: further allowed imports, as ``module -> package``, or ``module -> module`` of this project, which
            isn't followed further. An exception that isn't in the code also breaks the contract.
    """

    type_name = "allowed_packages"

    source_modules = fields.ListField(subfield=fields.StringField())
    allowed_packages = fields.SetField(subfield=fields.StringField())
    standard_library = fields.BooleanField(default=False)
    exceptions = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        """Return the forbidden imports, as chains from a source module, and the exceptions that aren't in the code."""
        stale = []
        for exception in self.exceptions:  # type: ignore[attr-defined]  # import-linter's fields have no types
            importer, _, imported = exception.partition(" -> ")
            if graph.direct_import_exists(importer=importer, imported=imported):
                graph.remove_import(importer=importer, imported=imported)
            else:
                stale.append(exception)
        allowed: set[str] = set(self.allowed_packages)  # type: ignore[call-overload]  # no types, as above
        if self.standard_library:
            allowed |= sys.stdlib_module_names
        sources = {
            module
            for source in self.source_modules  # type: ignore[attr-defined]  # no types, as above
            for module in (source, *graph.find_descendants(source))
        }
        reached = sources.union(*(graph.find_upstream_modules(module) for module in sources))
        denied = [
            _chain(graph, sources, importer, imported)
            for importer in sorted(reached)
            for imported in sorted(graph.find_modules_directly_imported_by(importer) - allowed)
            if graph.is_module_squashed(imported)
        ]
        return ContractCheck(kept=not denied and not stale, metadata={"denied": denied, "stale": sorted(stale)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what breaks the contract."""
        for chain in check.metadata["denied"]:
            output.print_error(f"- {chain}: neither in allowed_packages nor in exceptions", bold=False)
        for exception in check.metadata["stale"]:
            output.print_error(f"- {exception}: in exceptions, but not in the code", bold=False)


def _chain(graph: ImportGraph, sources: set[str], importer: str, imported: str) -> str:
    """Return the shortest chain of imports from a source module to a package that ``importer`` imports."""
    if importer in sources:
        return f"{importer} -> {imported}"
    ways = (graph.find_shortest_chain(importer=source, imported=importer) for source in sorted(sources))
    return " -> ".join([*min((way for way in ways if way), key=len), imported])
