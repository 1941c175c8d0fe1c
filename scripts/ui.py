"""What `make ui` does: MLflow's pages on this machine alone, of the store that runs are recorded in."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path

from shiftlab.errors import UserError, one_sentence, without_password

HOST = "127.0.0.1"


def main() -> None:
    """Start MLflow's server, if the port is free; say when it answers, and open it in a desktop's browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="to listen on (default: %(default)s)")
    port = parser.parse_args().port
    store = os.environ.get("MLFLOW_TRACKING_URI", "")
    if store.startswith("http"):
        raise UserError(
            f"runs are recorded on {without_password(store)}: open that, or unset MLFLOW_TRACKING_URI to see those in "
            "mlflow.db"
        )
    refuse_taken(port, "make ui PORT=5001")
    from shiftlab.tracking import (
        store as stores,  # seconds to import, so after a look at what can be refused without it
    )

    print(f"MLflow's pages will be at http://{HOST}:{port}, in some ten seconds:")
    for name, page in stores.pages().items():
        print(f"  {name}: http://{HOST}:{port}/{page}")
    sys.stdout.flush()
    # MLflow starts `uvicorn` by its name, which is on the PATH of an activated environment alone.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # One worker, for one user, and none of those that MLflow starts for jobs of language models: each takes seconds to
    # start, and 250 MB.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ["MLFLOW_BACKEND_STORE_URI"] = stores.address()  # arguments are seen by everybody on the machine
    command = ["mlflow", "ui", "--workers", "1"]
    server = subprocess.Popen([sys.executable, "-m", *command, "--host", HOST, "--port", str(port)])
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if answers(f"http://{HOST}:{port}/health", server):
            print(f"MLflow's pages are ready at http://{HOST}:{port} until Ctrl-C.", flush=True)
            if on_desktop():
                webbrowser.open(f"http://{HOST}:{port}")
        sys.exit(server.wait())
    except KeyboardInterrupt:  # which the server has heard, too
        server.wait()


def answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    """Wait until there is an answer; false where the server ended before."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def on_desktop() -> bool:
    """Is somebody in front of this machine, whose browser a page can be opened in?"""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


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
