# Sourced by run, test, check and lock: gives .venv what requirements.lock says.
#
#   setup serve   what the service needs
#   setup dev     that, and what the tests and linters need, the trainer's torch too
#
# Nothing is done, and no network is used, when .venv already holds it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'facewire: %s\n' "$*" >&2; }

# as_root COMMAND...: run it as root if that takes no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE...: 1 where this is no Debian or Ubuntu, or root needs a password.
apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root true || return 1
    say "installing $*"
    as_root apt-get -qq update >&2 || say "apt-get update failed, trying with the lists at hand"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq --yes install --no-install-recommends "$@" >&2
}

find_python() {
    local candidate found=""
    for candidate in ${FACEWIRE_PYTHON:-python3 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        found="$found $candidate"
    done
    say "needs Python 3.11 or newer, found:${found:- none} (set FACEWIRE_PYTHON to another)"
    return 1
}

make_venv() {
    local python version
    python=$(find_python)
    # Debian and Ubuntu ship python3 without the parts that make a virtual environment.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if ! apt_install "python$version-venv"; then
            say "$python cannot make virtual environments: sudo apt-get install python$version-venv"
            return 1
        fi
    fi
    say "making $venv with $python"
    "$python" -m venv --clear "$venv"
}

# The lock's first part serves; what follows its line "# development" is for tests and linters.
setup() {
    local kind=$1 stamp=$venv/facewire-setup wanted have=""
    wanted=$({ echo "$root"; cat "$root/requirements.lock" "$root/pyproject.toml"; } | sha256sum)
    if "$venv/bin/python" -c '' 2>/dev/null; then
        have=$(cat "$stamp" 2>/dev/null || true)
    else
        make_venv
    fi
    case $have in "$kind $wanted" | "dev $wanted") return ;; esac
    rm -f "$stamp"
    if [ "$kind" = dev ]; then
        cp "$root/requirements.lock" "$venv/requirements.txt"
    else
        sed '/^# development/,$d' "$root/requirements.lock" >"$venv/requirements.txt"
    fi
    say "installing what requirements.lock names"
    "$venv/bin/python" -m pip install --no-deps --require-hashes -r "$venv/requirements.txt" >&2
    # torch comes in a build per processor and GPU, so that one hash cannot name it.
    [ "$kind" != dev ] || "$venv/bin/python" -m pip install --quiet torch==2.13.0 >&2
    "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e "$root" >&2
    echo "$kind $wanted" >"$stamp"
}
