"""What `make serve` does: answer requests with the champion of an architecture, on this machine alone."""

import argparse
import os

from ui import HOST, refuse_taken

from shiftlab.errors import UserError, one_sentence
from shiftlab.models import architectures


def main() -> None:
    """Serve, once it is sure that there is a champion and the port is free."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name of an architecture")
    parser.add_argument("--port", type=int, default=5001, help="to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.model not in architectures.names():
        raise UserError(f"no model {arguments.model!r}: choose one of {', '.join(architectures.names())}")

    # Seconds to import, so after a look at what can be refused without it.
    import uvicorn

    from shiftlab.tracking import registry, serving, store

    champion = registry.champion(arguments.model)
    refuse_taken(arguments.port, "make serve PORT=5002")
    os.environ["MLFLOW_TRACKING_URI"] = store.address()
    model = serving.load(champion)
    print(f"{champion} answers at http://{HOST}:{arguments.port}/invocations until Ctrl-C.", flush=True)
    uvicorn.run(serving.server(model), host=HOST, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    with one_sentence():
        main()
