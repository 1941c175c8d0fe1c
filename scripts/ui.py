"""What `make ui` does: MLflow's pages on this machine alone, of the store that runs are recorded in."""

import argparse
import os
import socket
import sys
from pathlib import Path

from shiftlab.errors import UserError, one_sentence

HOST = "127.0.0.1"


def main() -> None:
    """Become MLflow's server, once it is sure that the port is free."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="to listen on (default: %(default)s)")
    port = parser.parse_args().port
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    if store.startswith("http"):
        raise UserError(
            f"runs are recorded on {store}: open that, or unset MLFLOW_TRACKING_URI to see those in mlflow.db"
        )
    refuse_taken(port, "make ui PORT=5001")
    from shiftlab.track import store as stores  # seconds to import, so after a look at what can be refused without it

    print(f"MLflow's pages are at http://{HOST}:{port} until Ctrl-C.")
    for name, page in stores.pages().items():
        print(f"  {name}: http://{HOST}:{port}/{page}")
    sys.stdout.flush()
    # MLflow starts `uvicorn` by its name, which is on the PATH of an activated environment alone.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # One worker, for one user, and none of those that MLflow starts for jobs of language models: each takes seconds to
    # start, and 250 MB.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    server = ["mlflow", "ui", "--backend-store-uri", stores.address(), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", *server, "--host", HOST, "--port", str(port)])


def refuse_taken(port: int, instead: str) -> None:
    """Say so where nothing can listen on the port.

    Args:
        instead: the command to advise.

    Raises:
        UserError: it is taken, or no port.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} can't be listened on ({error}): choose another, as in `{instead}`") from None


if __name__ == "__main__":
    with one_sentence():
        main()
