#!/bin/sh
# Fetches the real peers of the end-to-end tests into .cache/e2e: the conformance suite, clients and servers, each at
# the version its lock file names. A part whose lock file has not changed is left alone, so a second run needs no
# network. PYTHON names the interpreter that the virtual environments are made with.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../../.cache/e2e
python=${PYTHON:-python3}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

command -v npm >/dev/null || { echo "setup: npm is needed, it comes with Node.js" >&2; exit 1; }

# Two test runs may share a checkout: one installs, the other waits.
exec 9>"$cache/lock"
flock 9

# once NAME COMMAND FILE...: runs the command unless it has succeeded with these very files.
once() {
    name=$1 install=$2
    shift 2
    stamp=$cache/$name.stamp
    cat "$@" | sha256sum >"$stamp.new"
    if ! cmp -s "$stamp.new" "$stamp"; then
        rm -rf "${cache:?}/$name" "$stamp"
        mkdir "$cache/$name"
        (cd "$cache/$name" && "$install" "$@")
    fi
    mv "$stamp.new" "$stamp"
}

install_npm() {
    cp "$@" .
    # npm says so on every run where the machine's own Node.js is older than the one in the lock file.
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
}

install_python() {
    "$python" -m venv .
    bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$1"
}

install_everything() {
    "$python" -m pip download --quiet --disable-pip-version-check \
        --no-deps --no-binary :all: --require-hashes --requirement "$1"
    tar --extract --gzip --file mcp-*.tar.gz --strip-components=4 --wildcards 'mcp-*/examples/servers/everything-server'
    rm mcp-*.tar.gz
}

once npm install_npm "$here/npm/package.json" "$here/npm/package-lock.json" "$here/npm/.npmrc"
once sdk1 install_python "$here/requirements-sdk1.txt"
once sdk2 install_python "$here/requirements-sdk2.txt"
once everything install_everything "$here/requirements-everything.txt"
