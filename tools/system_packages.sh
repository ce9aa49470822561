#!/bin/sh
# Make sure that Debian packages are installed: sh tools/system_packages.sh PACKAGE...
#
# On Debian and Ubuntu what is missing is installed when that needs no password, otherwise the command to do so is
# printed. Other Linuxes name their packages differently, so there only xvfb-run is looked for. macOS and Windows
# bring all that is needed. Quick when nothing is missing.
set -eu

say() { echo "napari-medicosam: $*" >&2; }

[ "$(uname -s)" = Linux ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    case " $* " in
    *" xvfb "*)
        command -v xvfb-run >/dev/null && exit 0
        say "there is no display and no xvfb-run: install Xvfb (Fedora: dnf install xorg-x11-server-Xvfb)"
        exit 1
        ;;
    esac
    exit 0
fi

# A package may have been renamed (libglib2.0-0t64) and provide the old name.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' | grep '^installed ' | tr -s ' ,' '\n')
missing=
for package in "$@"; do
    printf '%s\n' "$installed" | grep -qxF "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    become=
elif sudo -n true 2>/dev/null; then
    become="sudo -n"
else
    say "system packages are missing. Install them, then run the same command again:"
    say "    sudo apt-get install$missing"
    exit 1
fi

say "installing system packages:$missing"
$become apt-get -q update
# shellcheck disable=SC2086  # a list of names
$become env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $missing
