"""Which certificate authorities vouch for a server: the system's, or those that are named."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from mergeit_async.errors import UsageError

# OpenSSL finds the first two by itself; the others are what users of requests and curl have set.
_OWN_FILE, _OWN_FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def build_tls_context() -> ssl.SSLContext:
    """The settings for TLS that verify a server's certificate and name.

    SSL_CERT_FILE and SSL_CERT_DIR name the authorities as for any program on OpenSSL; without
    them REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, a file or a folder, takes the place of the system's.
    Raises UsageError for a named file that is missing or holds no certificates.
    """
    name = _find_variable()
    path = os.environ.get(name, "")
    try:
        context = _load_authorities(name, path)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{name} is set to {path!r}, where no certificates can be read ({error}); "
            "name a file in PEM format, or unset it."
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _find_variable() -> str:
    if os.environ.get(_OWN_FOLDER) and not os.environ.get(_OWN_FILE):
        return _OWN_FOLDER
    return next((name for name in (_OWN_FILE, *_BUNDLES) if os.environ.get(name)), _OWN_FILE)


def _load_authorities(name: str, path: str) -> ssl.SSLContext:
    if name not in _BUNDLES:
        context = ssl.create_default_context()
        if name == _OWN_FILE and path:
            # OpenSSL has read it already, but would not say that it could not.
            context.load_verify_locations(path)
        return context
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
