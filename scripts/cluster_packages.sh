#!/usr/bin/env bash
# What nodes of the cluster tier are made of, from Debian; installed where something is missing (as root). No service is
# started by it.
set -euo pipefail
for program in containerd runc iptables conntrack ip unshare; do
    command -v "$program" > /dev/null || missing=1
done
command -v prometheus > /dev/null || missing=1
[ -d /usr/lib/cni ] || missing=1
[ -n "${missing:-}" ] || exit 0
apt-get update -qq
apt-get install -qq --yes --no-install-recommends containerd runc containernetworking-plugins iptables nftables \
    conntrack iproute2 util-linux prometheus > /dev/null
