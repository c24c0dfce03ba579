"""Serves one GGUF model on 127.0.0.1 over the OpenAI wire, with llama.cpp's own HTTP server.

Started as a child by `planfleet`. Stdout carries one JSON line when the model answers; llama.cpp's
log goes to stderr. It must never outlive its parent: it exits when stdin ends (the parent holds
the other end of that pipe and dies with it) or when its parent process id changes.
"""

import argparse
import errno
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time

HOST = "127.0.0.1"
# How long a server that has loaded its model may take to answer /health.
HEALTHY_WITHIN_S = 60
# llama.cpp keeps up to 8 GiB of old prompts by default; a laptop does not have that to spare.
PROMPT_CACHE_MIB = 256


def main():
    args = arguments()
    # The parent decides when we stop: Ctrl-C in its terminal reaches us too, while it still drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(stdin_ends)
    if args.parent_pid is not None:
        watch(lambda: parent_changes(args.parent_pid))
    report = keep_stdout_for_us()
    check(args)
    server = start(args)
    wait_until_healthy(args.port)
    ready = {"ready": True, "base_url": f"http://{HOST}:{args.port}/v1", "model": args.alias}
    report.write(json.dumps(ready) + "\n")
    report.flush()
    keep(server)


def arguments():
    parser = argparse.ArgumentParser(prog="local_model_server", description=__doc__)
    parser.add_argument("--gguf", required=True, help="the model file")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--alias", default="smollm2", help="the model's name on the wire")
    parser.add_argument("--slots", default=4, type=positive, help="requests answered at once")
    parser.add_argument("--context", default=2048, type=positive, help="tokens per slot")
    # Two OpenMP threads spin at barriers: anything else on a core costs 95 % of the speed.
    parser.add_argument("--threads", default=1, type=positive)
    parser.add_argument("--parent-pid", type=positive)
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def watch(until_orphaned):
    def exit_when_orphaned():
        until_orphaned()
        os._exit(0)

    threading.Thread(target=exit_when_orphaned, daemon=True).start()


def stdin_ends():
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass


def parent_changes(parent_pid):
    while os.getppid() == parent_pid:
        time.sleep(0.5)


def keep_stdout_for_us():
    """Native code that prints to stdout reaches stderr instead; the returned file is stdout."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return report


def check(args):
    if not os.path.isfile(args.gguf):
        fail(f"no model file at {args.gguf}: run `make setup`, or set PLANFLEET_GGUF to a GGUF file")
    with open(args.gguf, "rb") as file:
        if file.read(4) != b"GGUF":
            fail(f"{args.gguf} is not a GGUF file: point PLANFLEET_GGUF at one, or unset it")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As llama.cpp binds: connections of an earlier server that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, args.port))
            probe.listen()
        except OverflowError:
            fail(f"port {args.port} is not between 1 and 65535")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                fail(f"port {args.port} on {HOST} is in use: choose another")
            fail(f"cannot listen on {HOST}:{args.port}: {error.strerror}")


def start(args):
    try:
        import xllamacpp
    except ModuleNotFoundError:
        fail("the Python module xllamacpp is missing: run `make setup`")
    except ImportError as error:
        fail(f"cannot load xllamacpp ({error}): run `make setup`; it needs libgomp1")
    try:
        return xllamacpp.Server(parameters(xllamacpp, args))
    except Exception as error:
        fail(f"llama.cpp cannot serve {args.gguf}: {error}")


def parameters(xllamacpp, args):
    params = xllamacpp.CommonParams()
    params.model.path = args.gguf
    params.model_alias = {args.alias}
    params.hostnames = [HOST]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.slots * args.context
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.cont_batching = True
    params.use_jinja = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.n_gpu_layers = 0
    # Only our own processes speak to it: no web page, and no browser origin.
    params.ui = False
    params.cors_origins = ""
    return params


def wait_until_healthy(port):
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    fail(f"the model did not become healthy within {HEALTHY_WITHIN_S} s: see the log above")


def keep(_server):
    """Blocks for ever; the reference is what keeps the server alive."""
    threading.Event().wait()


def fail(message):
    print(f"local model: {message}", file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
