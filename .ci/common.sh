# What the scripts beside this one share.
PATH=$PATH:/usr/sbin:/usr/libexec:/usr/local/sbin:/opt/homebrew/bin

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }
}

apt_update() { as_root apt-get update -q >/dev/null; }

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}
