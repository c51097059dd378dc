# SPDX-License-Identifier: Apache-2.0
# tools/setup installs what is missing and only that, nothing the second time, says why, and without apt lists what is
# needed. apt-get, dpkg-query and sudo are stand-ins that record what they are asked for.
set -euo pipefail
setup="$SOURCE_DIR/tools/setup"
mkdir stand-ins
for tool in bash env sed awk cat id; do ln -s "$(command -v "$tool")" "stand-ins/$tool"; done

PATH="$PWD/stand-ins" bash "$setup" >no-apt.txt
grep -q "there is no apt" no-apt.txt
for word in libhdf5-dev CMAKE_PREFIX_PATH module Spack; do grep -q "$word" no-apt.txt; done

cat >stand-ins/dpkg-query <<'STANDIN'
#!/usr/bin/env bash
package="${@: -1}"
while read -r missing; do [ "$missing" != "$package" ] || exit 1; done <missing.txt
echo -n installed
STANDIN
cat >stand-ins/apt-get <<'STANDIN'
#!/usr/bin/env bash
echo "$DEBIAN_FRONTEND apt-get $*" >>calls.txt
[ "$1" != install ] || : >missing.txt
STANDIN
cat >stand-ins/sudo <<'STANDIN'
#!/usr/bin/env bash
exec "$@"
STANDIN
chmod +x stand-ins/dpkg-query stand-ins/apt-get stand-ins/sudo

printf '%s\n' libhdf5-dev libgtest-dev >missing.txt
: >calls.txt
PATH="$PWD/stand-ins" bash "$setup" >first.txt
grep -q "libhdf5-dev .*HDF5" first.txt
[ "$(cat calls.txt)" = "noninteractive apt-get update -q
noninteractive apt-get install -q -y --no-install-recommends libhdf5-dev libgtest-dev" ]

: >calls.txt
PATH="$PWD/stand-ins" bash "$setup" >second.txt
[ ! -s calls.txt ]
[ "$(cat second.txt)" = "setup: all that Lepton needs is installed." ]
