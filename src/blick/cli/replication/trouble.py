"""What is said of a server that cannot be spoken to."""

import ssl

from blick.model.errors import SourceUnavailable


def unreachable(where: str, error: Exception) -> SourceUnavailable:
    """What `error` of a request to `where` means for an operator."""
    told = error.args[0] if error.args else None
    if isinstance(told, ssl.SSLCertVerificationError):
        return SourceUnavailable(f"{where} is not trusted: {told.verify_message.rstrip('.')} (see --ca-file).")
    return SourceUnavailable(f"{where} does not answer: {reason(error)}.")


def reason(error: Exception) -> str:
    """In few words why a connection failed or broke off."""
    behind = error.__cause__
    if isinstance(behind, OSError) and not isinstance(behind, ssl.SSLError) and behind.strerror:
        return behind.strerror
    cause = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], Exception) else error
    return str(cause).rpartition(": ")[2].rstrip(".") or type(cause).__name__
