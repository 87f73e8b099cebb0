"""TLS as cameras speak it: verified, or whatever they have."""

import socket
import ssl


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return what connects to a camera; without `verify` to any, however old or self-signed."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Who does not ask who it is does not ask how old it is: cameras of ten years ago.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def untrusted(error: ssl.SSLCertVerificationError) -> str:
    """Say why a certificate is not trusted, and what to do."""
    words = error.verify_message.lower()
    return f"its certificate cannot be verified ({words}): verify_tls = false accepts it"


def certificate_trouble(host: str, port: int, *, timeout_s: float) -> str:
    """Shake hands with a camera that FFmpeg could not open; returns why it is not trusted.

    Args:
        host: its name or address.
        port: where it listens.
        timeout_s: seconds it may take for each step.

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
