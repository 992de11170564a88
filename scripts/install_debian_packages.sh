#!/usr/bin/env bash
# Installs the real counterparts the tests run against, where Debian or Ubuntu packages can be had.
#
# Installs only what is missing, and only as root or with a sudo that asks nothing. Where it cannot,
# it names what is missing; with CI=true that is a failure, otherwise the tests in need of it skip.
set -euo pipefail

# binary:package; the first is looked up, the second installed.
wanted=(
    postgres:postgresql
    redis-server:redis-server
    chromium:chromium
    pdftotext:poppler-utils
    dmtxread:dmtx-utils
    zbarimg:zbar-tools
    img2dcm:dcmtk
    dciodvfy:dicom3tools
    Orthanc:orthanc
    orthanc-dicomweb:orthanc-dicomweb
)

have() {
    command -v "$1" >/dev/null 2>&1 && return 0
    case $1 in
        # Debian keeps the server's binaries off the PATH.
        postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
        chromium) command -v chromium-browser google-chrome >/dev/null 2>&1 ;;
        # A plug-in, not a program.
        orthanc-dicomweb) [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] ;;
        *) return 1 ;;
    esac
}

missing_packages() {
    local pair
    for pair in "${wanted[@]}"; do
        have "${pair%%:*}" || printf '%s\n' "${pair##*:}"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

# Debian's postgresql creates a cluster and starts it, redis-server starts a service; the tests
# bring their own on free ports, so neither may touch the machine's.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d made_policy= made_config=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=1
    fi
    if [[ " $* " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
        made_config=1
    fi
    local status=0
    as_root apt-get update -qq || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" >&2 || status=$?
    [ -z "$made_policy" ] || as_root rm -f "$policy"
    [ -z "$made_config" ] || echo "wrote /etc/postgresql-common/createcluster.conf: no cluster is started here" >&2
    return "$status"
}

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} -gt 0 ] || exit 0

if can_install; then
    echo "Installing for the tests: ${packages[*]}" >&2
    install_quietly "${packages[@]}" || echo "apt-get did not install all of them." >&2
fi

mapfile -t packages < <(missing_packages)
[ ${#packages[@]} -gt 0 ] || exit 0
echo "Missing for the tests: ${packages[*]} (apt-get install ${packages[*]})" >&2
if [ "${CI:-}" = true ]; then
    exit 1
fi
echo "The tests that need them will be skipped, each with its reason." >&2
