"""Permissions on a store."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.object_store.permissions import LACKS_READING, Permission, explained_lack


@pytest.mark.parametrize("scheme", LACKS_READING)
def test_each_permission_is_explained_by_itself(scheme: str) -> None:
    explained = [explained_lack(scheme, each) for each in (Permission.READ, Permission.WRITE, Permission.DELETE)]
    assert len(set(explained)) == 3
    assert explained[0] == LACKS_READING[scheme]


@pytest.mark.parametrize(("scheme", "right"), [("gs", "signBlob"), ("az", "Delegator")])
def test_signing_that_a_service_does_is_a_permission(scheme: str, right: str) -> None:
    assert right in explained_lack(scheme, Permission.SIGN)[1]
