"""What `make ui` does: MLflow's pages on this machine alone, of the store that runs are recorded in."""

import argparse
import os
import socket
import sys

from shiftlab.errors import UserError, one_sentence

HOST = "127.0.0.1"


def main() -> None:
    """Become MLflow's server, once it is sure that the port is free."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="to listen on (default: %(default)s)")
    port = parser.parse_args().port
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    if store.startswith("http"):
        raise UserError(
            f"runs are recorded on {store}: open that, or unset MLFLOW_TRACKING_URI to see those in mlflow.db"
        )
    refuse_taken(port)
    print(f"MLflow's pages are at http://{HOST}:{port} until Ctrl-C.", flush=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(
        sys.executable,
        [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--host", HOST, "--port", str(port)],
    )


def refuse_taken(port: int) -> None:
    """Say so where nothing can listen on the port.

    Raises:
        UserError: it is taken, or no port.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"port {port} can't be listened on ({error}): choose another, as in `make ui PORT=5001`"
        ) from None


if __name__ == "__main__":
    with one_sentence():
        main()
