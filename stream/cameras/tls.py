"""TLS contexts for cameras: verified, or accepting any certificate."""

import socket
import ssl


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return a TLS context for a camera; without `verify`, for any, even old or self-signed."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Without certificate checks, old TLS versions are accepted too: ten-year-old cameras.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def untrusted(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not trusted, and what to do."""
    words = error.verify_message.lower()
    return f"its certificate cannot be verified ({words}): verify_tls = false accepts it"


def certificate_trouble(host: str, port: int, *, timeout_s: float) -> str:
    """Return why the certificate of a camera that FFmpeg could not open is not trusted.

    Args:
        host: its name or address.
        port: on which it listens.
        timeout_s: maximum time of each step, seconds.

    Returns:
        One line; empty where its certificate is trusted, or something else is wrong.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as connection,
            tls_context(verify=True).wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return untrusted(error)
    except (OSError, ValueError):
        return ""
