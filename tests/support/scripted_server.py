"""A stdio server that does what its requests tell it to.

    python scripted_server.py [--era both|legacy|modern|silent|crash]

A request's `params.arguments.script` (or `params.script`) is a list of steps: `["say", message]`
writes a message, in which `"$id"` and `"$token"` stand for the request's; `["raw", text]` writes
text as it is; `["note", text]` writes to standard error; `["wait"]` reads one more message before
it goes on; `["hush"]` leaves the request unanswered; `["exit", code]` ends. Whatever is not a
request is only noted. Without a script, or after it, the answer holds every line read so far, so
that a test sees what the server saw, byte for byte.
"""

import json
import os
import signal
import sys

era = sys.argv[sys.argv.index("--era") + 1] if "--era" in sys.argv else "both"
if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
seen = []


def write(text):
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def say(message):
    write(json.dumps(message) + "\n")


def read():
    line = sys.stdin.buffer.readline()
    if not line:
        if "--deaf" in sys.argv:
            signal.pause()
        sys.exit(int(os.environ.get("EXIT_CODE", "0")))
    seen.append(line.decode().removesuffix("\n"))
    return json.loads(line)


def filled(value, request):
    if isinstance(value, dict):
        return {key: filled(item, request) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, request) for item in value]
    if value == "$id":
        return request["id"]
    if value == "$token":
        return request["params"]["_meta"]["progressToken"]
    return value


def refuse(request, code, data=None):
    error = {"code": code, "message": "no", **({"data": data} if data else {})}
    say({"jsonrpc": "2.0", "id": request["id"], "error": error})


def serve(request):
    method, params = request["method"], request.get("params", {})
    if method == "initialize" and era == "modern":
        return refuse(request, -32022, {"supported": ["2026-07-28"], "requested": "?"})
    if method == "server/discover" and era == "legacy":
        return refuse(request, -32601)
    if method == "server/discover" and era == "crash":
        sys.exit(3)
    if method == "server/discover" and era == "silent":
        return None
    script = params.get("arguments", params).get("script", [])
    for step, *rest in script:
        if step == "say":
            say(filled(rest[0], request))
        elif step == "raw":
            write(rest[0])
        elif step == "note":
            sys.stderr.write(rest[0])
            sys.stderr.flush()
        elif step == "wait":
            read()
        elif step == "exit":
            os._exit(rest[0])
        elif step == "hush":
            return None
    result = {"seen": seen, "pid": os.getpid(), "env": dict(os.environ)}
    if method == "initialize":
        result["protocolVersion"] = params["protocolVersion"]
    return say({"jsonrpc": "2.0", "id": request["id"], "result": result})


while True:
    message = read()
    if "method" in message and "id" in message:
        serve(message)
