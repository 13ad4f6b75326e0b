"""Hosts that only a provider itself answers."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.object_store.providers import is_own_host


@pytest.mark.parametrize(
    ("scheme", "host"),
    [
        ("s3", "s3.amazonaws.com"),
        ("s3", "s3.eu-west-1.amazonaws.com"),
        ("s3", "S3.EU-WEST-1.amazonaws.com"),
        ("s3", "s3-fips.us-gov-west-1.amazonaws.com"),
        ("s3", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("s3", "bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com"),
        ("s3", "s3.cn-north-1.amazonaws.com.cn"),
        ("s3", "bucket.s3.eu-west-1.amazonaws.com"),
        ("gs", "storage.googleapis.com"),
        ("gs", "storage.europe-west3.rep.googleapis.com"),
        ("az", "account.blob.core.windows.net"),
        ("az", "account.privatelink.blob.core.windows.net"),
        ("az", "account.blob.core.chinacloudapi.cn"),
    ],
)
def test_host_of_a_provider_is_recognized(scheme: str, host: str) -> None:
    assert is_own_host(scheme, host)


@pytest.mark.parametrize(
    ("scheme", "host"),
    [
        ("s3", "ec2-192-0-2-1.compute-1.amazonaws.com"),
        ("s3", "evils3.amazonaws.com"),
        ("s3", "api.execute-api.us-east-1.amazonaws.com"),
        ("s3", "s3.us-east-1.elb.amazonaws.com"),
        ("s3", "s3.evil.us-east-1.elb.amazonaws.com"),
        ("s3", "s3.x.compute-1.amazonaws.com"),
        ("s3", "s3.amazonaws.com.evil.test"),
        ("s3", "storage.googleapis.com"),
        ("gs", "evilgoogleapis.com"),
        ("gs", "googleapis.com.evil.test"),
        ("az", "account.blob.core.windows.net.evil.test"),
        ("az", "account.cloudapp.windows.net"),
        ("az", "127.0.0.1"),
        ("s3", ""),
    ],
)
def test_host_that_any_user_can_have_is_not_a_providers_own(scheme: str, host: str) -> None:
    assert not is_own_host(scheme, host)
