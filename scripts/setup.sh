# Sourced by run, test, check and lock: gives .venv what requirements.lock says.
#
#   setup serve   what the service needs
#   setup dev     that, and what the tests and linters need, the trainer's torch too
#   setup_page    what the page's linters need, in tests/web/node_modules, by npm
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
    if [ -z "${apt_is_up_to_date:-}" ]; then
        as_root apt-get -qq update >&2 || say "apt-get update failed, trying with the lists at hand"
        apt_is_up_to_date=1
    fi
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

has_npm() { command -v npm >/dev/null; }

# need WHAT TEST PACKAGES...: install unless the test says it is there.
need() {
    local what=$1 is_there=$2
    shift 2
    if $is_there || { apt_install "$@" && $is_there; }; then return; fi
    say "skipping the tests that need $what: sudo apt-get install" "$@"
    [ "${FACEWIRE_NO_SKIP:-}" != 1 ]
}

# The linters of the page run on these versions of Node.js alone: tests/web/package.json.
has_node() {
    has_npm && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'
}

# 1 where they cannot be installed. Nothing is done, and no network is used, when they are there.
setup_page() {
    local folder=$root/tests/web stamp=$root/tests/web/node_modules/facewire-setup wanted
    has_npm || apt_install npm || true
    if ! has_node; then
        say "skipping the checks of the page: they need npm and Node.js 20.19 or newer"
        return 1
    fi
    wanted=$({ cat "$folder/package-lock.json"; node --version; } | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then return; fi
    say "installing what tests/web/package-lock.json names"
    if ! (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
        say "skipping the checks of the page: npm could not install their linters"
        return 1
    fi
    echo "$wanted" >"$stamp"
}
