"""Creation of the bed of a test run, for pytest's fixtures and for scripts/e2e_scenarios.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.apiserver.binaries import cache_folder, find_binaries
from tests.cluster.bed import ClusterBed
from tests.cluster.cluster import Cluster
from tests.cluster.image_store import find_store
from tests.cluster.tools import find_tool

PROGRAMS = ("unshare", "nsenter", "containerd", "ctr", "runc", "iptables", "conntrack", "ip", "mount")
ARCHIVES = ("operator.tar", "trainer-cpu.tar")
SHAPES = "shapes"
"""Folder, within the bed's, of the images that every scenario copies."""


def what_nodes_lack() -> str:
    """Return the reason why this machine cannot run nodes; empty if it can."""
    if os.geteuid() != 0:
        return "root is required"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(missing)} is not installed (run scripts/cluster_packages.sh)" if missing else ""


def make_bed() -> ClusterBed:
    """Return a bed that isn't started yet; its nodes have the images that ``make e2e`` has put into the cache."""
    images = cache_folder() / "images"
    archives = [images / name for name in ARCHIVES if (images / name).is_file()]
    return ClusterBed(find_binaries(), find_store(archives))


def cluster_of(bed: ClusterBed, kept: Path) -> Cluster:
    """Return kubectl and helm for a running bed; the evidence of failures goes to ``kept``."""
    return Cluster(bed.kubeconfig, bed.binaries / "kubectl", find_tool("helm"), kept, bed)
