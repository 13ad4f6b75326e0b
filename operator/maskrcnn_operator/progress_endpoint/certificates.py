"""Certificates of the report endpoint: its own certificate authority (CA), and short-lived certificates. Pure.

The CA certificate is renewed with the same key and name, so that a step with the old one as its trust anchor still
accepts certificates signed by the key. Profiles follow RFC 5280.
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
"""Remaining lifetime below which a CA is renewed; longer than any training that trusts the old certificate."""
LEAF_LIFETIME = timedelta(days=30)
LEAF_MARGIN = timedelta(days=10)
"""Remaining lifetime below which a leaf is replaced."""
BACKDATED = timedelta(hours=1)
"""Validity before the time of creation, since the clocks of nodes differ."""


class CertificateError(Exception):
    """Error: an existing certificate or its key cannot be used."""


@dataclass(frozen=True)
class Authority:
    """Certificate authority with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> str:
        """The CA certificate as PEM, the trust anchor for clients."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The private key as PEM (PKCS 8)."""
        return _key_pem(self.key).decode()


@dataclass(frozen=True)
class Leaf:
    """Certificate of a server and its key, as PEM."""

    certificate: bytes
    key: bytes
    not_after: datetime
    issued_by: bytes

    def serves(self, authority: Authority, now: datetime) -> bool:
        """Return whether it may stay in use, because it is signed by the CA's key and does not expire soon."""
        return self.issued_by == _public_bytes(authority.key) and self.not_after - now > LEAF_MARGIN


def new_authority(now: datetime) -> Authority:
    """Return a CA with a new key."""
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), now)


def renewed(authority: Authority, now: datetime) -> Authority:
    """Return the CA itself, or, if it expires soon, with a new certificate for the same key."""
    if authority.certificate.not_valid_after_utc - now > AUTHORITY_MARGIN:
        return authority
    return _self_signed(authority.key, now)


def read_authority(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """Return the CA from PEM.

    Raises:
        CertificateError: certificate or key cannot be read, or they do not belong together.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"not a PEM certificate and private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or _encoded(certificate.public_key()) != _public_bytes(key):
        raise CertificateError("the private key doesn't belong to the certificate")
    return Authority(certificate, key)


def signs_others(certificates_pem: bytes) -> bool:
    """Return whether a CA is among PEM certificates, so that certificates that it signs later are accepted as well.

    Raises:
        CertificateError: there is no certificate, or one cannot be read.
    """
    try:
        certificates = x509.load_pem_x509_certificates(certificates_pem)
        return any(_is_authority(certificate) for certificate in certificates)
    except ValueError as error:
        raise CertificateError(f"an invalid PEM certificate: {error}") from error


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def issue(authority: Authority, names: Sequence[str], now: datetime) -> Leaf:
    """Return a server's certificate, with a new key, for DNS names and IP addresses.

    Args:
        authority: CA that signs it.
        names: at least one; the first is also the subject's name.
        now: time of day, aware.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    not_after = now + LEAF_LIFETIME  # the CA is renewed long before
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
