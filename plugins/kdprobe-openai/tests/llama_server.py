"""Runs llama.cpp's server from the package xllamacpp: llama_server.py MODEL PORT."""

import signal
import sys

import xllamacpp


def main() -> None:
    """Serves until it is terminated."""
    model, port = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_ctx = 2048
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
