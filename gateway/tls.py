"""TLS of listeners and clients: version 1.2 or later, with the certificates and keys that the configuration names."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.errors import GatewayError

SHUTDOWN_TIMEOUT = 5.0  # s for the other side to answer our close


class CertificateError(GatewayError):
    """Certificate or key cannot be used; `what` is wrong, and the `remedy`."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy


class _EncryptedError(Exception):
    """The key asks for a passphrase, which nobody is there to type."""


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """What a listener needs for its handshakes.

    Parameters
    ----------
    cert : PEM, the server's certificate first, then those between it and the root.
    key : PEM, without a passphrase.

    Raises
    ------
    CertificateError
        If they cannot be read, are something else or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load_chain(context, cert, key)
    return context


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """What a client needs: the server's name and certificate are always checked.

    Parameters
    ----------
    ca : PEM, whose signature the server's certificate must bear; None: those the system trusts.
    cert, key : the client's own, as for `server_context`; None: it has none.

    Raises
    ------
    CertificateError
        As `server_context`.
    """
    if ca is not None:
        _read_pem("ca", ca)
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise CertificateError(f"ca {ca} holds no certificate", "name the authority's certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None and key is not None:
        _load_chain(context, cert, key)
    return context


def _read_pem(name: str, path: Path) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        remedy = "create it, or correct its path or its rights"
        raise CertificateError(f"{name} {path}: {error.strerror}", remedy) from None
    if b"-----BEGIN " not in text:
        raise CertificateError(f"{name} {path} is no PEM file", "convert it: it begins with -----BEGIN")


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _read_pem("cert", cert)
    _read_pem("key", key)
    try:
        context.load_cert_chain(cert, key, _refuse_to_ask)
    except _EncryptedError:
        raise CertificateError(f"key {key} has a passphrase", "take it off: openssl pkey -in KEY -out NEW") from None
    except ssl.SSLError as error:
        raise _explained(cert, key, error) from None


def _refuse_to_ask() -> str:
    raise _EncryptedError


def _explained(cert: Path, key: Path, error: ssl.SSLError) -> CertificateError:
    if error.reason == "KEY_VALUES_MISMATCH":
        what = f"cert {cert} and key {key} do not belong together"
        return CertificateError(what, "take the key that the certificate was made for, and put its certificate first")
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "EE_KEY_TOO_WEAK"):
        return CertificateError(f"cert {cert} is too weak ({error.reason})", "make one with a longer key and SHA-256")
    try:
        ssl.create_default_context().load_verify_locations(cert)
    except ssl.SSLError:
        return CertificateError(f"cert {cert} holds no certificate", "name the file with -----BEGIN CERTIFICATE-----")
    return CertificateError(f"key {key} holds no private key", "name the file with -----BEGIN PRIVATE KEY-----")
