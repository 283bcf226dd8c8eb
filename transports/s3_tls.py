"""How the store's certificate is judged."""

import ssl

from transports.s3_options import S3Options


def tls_context(options: S3Options) -> ssl.SSLContext:
    """Made once for all connections: it takes 20 ms and a megabyte."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file={options.ca_file!r}: {error}") from error
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
