"""What `make serve` does: answer requests with the champion of an architecture, on this machine alone."""

import argparse
import os
import sys

from ui import HOST, refuse_taken

from shiftlab import models
from shiftlab.errors import UserError, one_sentence


def main() -> None:
    """Become MLflow's model server, once it is sure that there is a champion and the port is free."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name of an architecture")
    parser.add_argument("--port", type=int, default=5001, help="to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.model not in models.names():
        raise UserError(f"no model {arguments.model!r}: choose one of {', '.join(models.names())}")

    from shiftlab import tracking  # seconds to import, so after a look at what can be refused without it

    champion = tracking.champion(arguments.model)
    refuse_taken(arguments.port, "make serve PORT=5002")
    print(f"{champion} answers at http://{HOST}:{arguments.port}/invocations until Ctrl-C.", flush=True)
    serve = ["mlflow", "models", "serve", "--model-uri", champion, "--env-manager", "local"]
    os.environ["MLFLOW_TRACKING_URI"] = tracking.address()
    os.execv(sys.executable, [sys.executable, "-m", *serve, "--host", HOST, "--port", str(arguments.port)])


if __name__ == "__main__":
    with one_sentence():
        main()
