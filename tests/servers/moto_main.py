"""The moto S3 server as a program: ``python -m tests.servers.moto_main PORT``."""

from __future__ import annotations

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple


class _Handler(WSGIRequestHandler):
    """Speaks HTTP/1.1, but still closes every connection after one answer, as werkzeug insists."""

    protocol_version = "HTTP/1.1"
    # Head and body go out in two writes, which Nagle's algorithm would hold apart by 40 ms.
    disable_nagle_algorithm = True


def main() -> None:
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=_Handler)


if __name__ == "__main__":
    main()
