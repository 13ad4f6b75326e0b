"""Certificates of the report endpoint: an authority of its own and short-lived certificates signed by it. Pure.

The authority's certificate is renewed with the same key and name, so that a step which was given the old one as its
trust anchor goes on verifying what the key signs. Profiles follow RFC 5280.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_NAME = "maskrcnn-operator report authority"
AUTHORITY_LIFETIME = timedelta(days=3650)
AUTHORITY_MARGIN = timedelta(days=730)
"""An authority with less left is renewed: longer than any training that still trusts the old certificate."""
LEAF_LIFETIME = timedelta(days=30)
LEAF_MARGIN = timedelta(days=10)
"""A leaf with less left is replaced."""
BACKDATED = timedelta(hours=1)
"""Certificates begin so long ago: the clocks of nodes differ."""


class CertificateError(Exception):
    """An authority that was found cannot be used."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority, its key included."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> str:
        """What a client is given to trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The private key, PKCS 8."""
        return _key_pem(self.key).decode()


@dataclass(frozen=True)
class Leaf:
    """A server's certificate and its key, as PEM."""

    certificate: bytes
    key: bytes
    not_after: datetime
    issued_by: bytes

    def serves(self, authority: Authority, now: datetime) -> bool:
        """Whether it may stay in use: signed by the authority's key, and not about to expire."""
        return self.issued_by == _public_bytes(authority.key) and self.not_after - now > LEAF_MARGIN


def new_authority(now: datetime) -> Authority:
    """An authority with a key of its own."""
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), now)


def renewed(authority: Authority, now: datetime) -> Authority:
    """The authority itself while it lasts, else with a new certificate for the same key."""
    if authority.certificate.not_valid_after_utc - now > AUTHORITY_MARGIN:
        return authority
    return _self_signed(authority.key, now)


def read_authority(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """An authority from PEM.

    Raises:
        CertificateError: it cannot be read, or key and certificate do not belong together.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"no PEM certificate and private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or _encoded(certificate.public_key()) != _public_bytes(key):
        raise CertificateError("the private key is not that of the certificate")
    return Authority(certificate, key)


def signs_others(certificates_pem: bytes) -> bool:
    """Return whether PEM certificates have an authority among them, so that what it signs later is verified as well.

    Raises:
        CertificateError: there is no certificate, or one that cannot be read.
    """
    try:
        certificates = x509.load_pem_x509_certificates(certificates_pem)
        return any(_is_authority(certificate) for certificate in certificates)
    except ValueError as error:
        raise CertificateError(f"no PEM certificate: {error}") from error


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def issue(authority: Authority, names: Sequence[str], now: datetime) -> Leaf:
    """A server's certificate for DNS names and IP addresses.

    Args:
        names: at least one; the first is also the subject's name.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    not_after = now + LEAF_LIFETIME  # an authority is renewed long before
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(names[0][:64]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return Leaf(pem, _key_pem(key), not_after, _public_bytes(authority.key))


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime) -> Authority:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(AUTHORITY_NAME))
        .issuer_name(_name(AUTHORITY_NAME))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - BACKDATED)
        .not_valid_after(now.astimezone(UTC) + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return _encoded(key.public_key())


def _encoded(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
