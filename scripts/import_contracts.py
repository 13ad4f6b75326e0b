"""A contract for lint-imports that denies every package from outside this project but those that it lists.

import-linter's own contracts take the packages to forbid, and a list of all that reads files or opens connections
would never be complete. https://import-linter.readthedocs.io/en/stable/custom_contract_types.html
"""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowedPackages(Contract):
    """Source packages import, of the standard library and of other distributions, what is listed.

    Options:
        source_modules: packages or modules, with all that is in them.
        allowed_packages: top-level names of the standard library or of other distributions.
        exceptions: further imports, each as ``module -> package``. One that nothing imports breaks the contract, too.
    """

    type_name = "allowed_packages"

    source_modules = fields.ListField(subfield=fields.StringField())
    allowed_packages = fields.SetField(subfield=fields.StringField())
    exceptions = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        allowed, exceptions = set(self.allowed_packages), set(self.exceptions)  # type: ignore[call-overload]
        found = {
            f"{module} -> {imported}"
            for source in self.source_modules  # type: ignore[attr-defined]
            for module in (source, *graph.find_descendants(source))
            for imported in graph.find_modules_directly_imported_by(module)
            if graph.is_module_squashed(imported) and imported not in allowed
        }
        return ContractCheck(
            kept=found == exceptions,
            metadata={"denied": sorted(found - exceptions), "stale": sorted(exceptions - found)},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["denied"]:
            output.print_error(f"- {line}: neither in allowed_packages nor in exceptions", bold=False)
        for line in check.metadata["stale"]:
            output.print_error(f"- {line}: in exceptions, but nothing imports it", bold=False)
