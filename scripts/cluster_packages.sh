#!/usr/bin/env bash
# Installs missing Debian packages that nodes of the cluster tier need (as root), without starting their services.
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
