# SPDX-License-Identifier: Apache-2.0
# tools/gpu_check works, seen on the debug device: its tests, bits over ranks and across a kill, benchmarks and table.
# And on a machine without a GPU it says so and ends with 69.
set -euo pipefail
programs=$(dirname "$LEPTON")
[ -x "$programs/lepton_benchmarks" ] || { echo "SKIPPED: the benchmarks are not built"; exit 77; }
"$PYTHON" "$SOURCE_DIR/tools/make_digits" digits.h5 >made.txt

LEPTON_CHECK_DEVICE=debug "$SOURCE_DIR/tools/gpu_check" "$programs" digits.h5 >table.txt || { cat table.txt; exit 1; }
grep -Eq '^tests of the device +passed +[1-9][0-9]* tests' table.txt
grep -Eq '^bits of 1 and 2 ranks on one device +same +[0-9a-f]{16}$' table.txt
grep -Eq '^bits after a kill and a restart +same +[0-9a-f]{16}$' table.txt
[ "$(grep -c '^device .* measured .*=' table.txt)" -eq 8 ]
grep -Eq '^debug rank at [0-9.]+ of a CPU rank.s speed and two of those +(met|NOT MET) +[0-9.]+ % of all three' table.txt
grep -Eq '^trainings to PyTorch +skipped' table.txt
! grep -q FAILED table.txt

if ! nvidia-smi -L >/dev/null 2>&1; then
  status=0
  "$SOURCE_DIR/tools/gpu_check" "$programs" digits.h5 >none.txt 2>&1 || status=$?
  [ "$status" -eq 69 ] || { cat none.txt; echo "exit code $status"; exit 1; }
  grep -q "no CUDA device" none.txt
fi
