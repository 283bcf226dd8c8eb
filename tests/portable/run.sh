#!/bin/sh
# Try the delta kernel, and one wheel of all, on processors that this machine is not: run.sh PYTHON.
# An emulator plays them, so nothing here says how fast anything is.
set -eu

python=$1
work=build/portable
native=mover/delta/native
without_avx="qemu-x86_64 -cpu Nehalem"

missing=
for tool in cc qemu-x86_64 qemu-aarch64 aarch64-linux-gnu-gcc; do
	command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -n "$missing" ]; then
	echo "missing:$missing (Debian: apt-get install gcc qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross)" >&2
	exit 2
fi

rm -rf "$work"
mkdir -p "$work"

echo "every level beside plain C:"
for compiler in cc aarch64-linux-gnu-gcc; do
	$compiler -O3 -std=c11 -D_GNU_SOURCE -Wall -Wextra -static -I$native \
		-o "$work/levels-$compiler" tests/portable/levels.c $native/*.c
done
{
	"$work/levels-cc"
	$without_avx "$work/levels-cc"
	qemu-x86_64 -cpu max "$work/levels-cc"
	qemu-aarch64 "$work/levels-aarch64-linux-gnu-gcc"
} | tee "$work/levels.txt"
test "$(sed 's/.*agree: //' "$work/levels.txt" | sort -u | wc -l)" = 1 ||
	{ echo "the processors do not agree" >&2; exit 1; }

echo "one wheel, on a processor without AVX:"
pip="-m pip --quiet --disable-pip-version-check"
"$python" $pip wheel --no-deps --wheel-dir "$work" .
"$python" -m venv "$work/venv"
"$work/venv/bin/python" $pip install "$(echo "$work"/*.whl)[blake3]" hypothesis pytest pytest-asyncio pytest-timeout
cp -r tests pyproject.toml "$work"
cd "$work"
test "$($without_avx venv/bin/python -c 'from mover.delta import _native; print(*_native.levels())')" = "sse2 scalar"
$without_avx venv/bin/python -m pytest -q --timeout=3600 \
	tests/property/test_delta_kernel.py tests/unit/mover/test_delta_native.py

# Three processes, as somebody would call them; eight bytes inserted.
mover="$without_avx venv/bin/python -m mover delta"
head -c 5000000 /dev/urandom >old
{ head -c 2000000 old; printf 'inserted'; tail -c +2000001 old; } >new
$mover sign old sig
$mover diff sig new delta
$mover patch old delta out
cmp new out && echo "the new file is what it must be"
