# SPDX-License-Identifier: Apache-2.0
# The command line: help, versions, keys; mistakes end with 64 and the nearest name, decks' mistakes with 78 and the
# place; under mpirun one rank speaks and every rank ends with the same code; check, inspect and status by JSON.
set -euo pipefail

# expect CODE TEXT COMMAND...: the exit code, and the text once in what is printed.
expect() {
  local code=$1 text=$2 status=0
  shift 2
  "$@" >out.txt 2>&1 || status=$?
  if [ "$status" -ne "$code" ] || [ "$(grep -cF -- "$text" out.txt)" -ne 1 ]; then
    echo "expected exit $code and once '$text' from: $*; got exit $status and:"
    cat out.txt
    exit 1
  fi
}

expect 0 "Usage: lepton [OPTIONS] SUBCOMMAND" "$LEPTON" --help
expect 0 "--accept-new-arithmetic" "$LEPTON" train --help
expect 0 "is the index of the largest score" "$LEPTON" predict --help
expect 0 "HDF5 " "$LEPTON" --version
expect 0 "learning_rate = a number above 0" "$LEPTON" keys
expect 0 "dense: " "$LEPTON" keys

expect 64 "Did you mean train?" "$LEPTON" trian deck.toml
expect 64 "Did you mean --max-steps?" "$LEPTON" train deck.toml --max-step 3
expect 64 "DECK is required" "$LEPTON" train
expect 64 "subcommand is required" "$LEPTON"
expect 64 "--set epochs is not KEY=VALUE" "$LEPTON" train deck.toml --set epochs
expect 64 "not in range 1" "$LEPTON" train deck.toml --max-steps 0
expect 64 "tset not in" "$LEPTON" evaluate deck.toml --split tset
expect 64 "--inputs is required" "$LEPTON" predict deck.toml --output out.h5
expect 64 "Did you mean train?" run_mpi 3 "$LEPTON" trian deck.toml

expect 66 "there is no such file" "$LEPTON" check absent.toml
expect 66 "there is no such file" run_mpi 3 "$LEPTON" check absent.toml
expect 66 "there is no such file or directory" "$LEPTON" inspect absent
expect 66 "there is no run in this directory" "$LEPTON" status .

"$PYTHON" "$SOURCE_DIR/tools/make_friedman" friedman.h5 --rows 200
cat >deck.toml <<'DECK'
[data]
file = "friedman.h5"
train = { inputs = "x", targets = "y" }
[model]
loss = "mse"
layers = [{ type = "dense", units = 1 }]
[trian]
epochs = 1
DECK
for run in "" "run_mpi 3"; do
  expect 78 "deck.toml:7:2: unknown key trian" $run "$LEPTON" check deck.toml
  expect 78 'Did you mean "train"?' $run "$LEPTON" check deck.toml
done
sed -i 's/trian/train/' deck.toml
expect 0 "steps       7 per epoch, 7 in all; 1 units of at most 32" "$LEPTON" check deck.toml
expect 0 "steps       7 per epoch, 7 in all; 1 units of at most 32" run_mpi 3 "$LEPTON" check deck.toml
expect 78 "--set train.epochs: train.epochs = \"many\" is not an integer" "$LEPTON" check deck.toml --set train.epochs=many
expect 78 'Did you mean "steal"' "$LEPTON" check deck.toml --set balance.policy=stael
expect 0 "arithmetic  products" "$LEPTON" check --set train.epochs=many deck.toml --set train.epochs=2  # before the deck too; the last one counts
expect 78 "the last layer gives [2], but the targets ask for [1]" run_mpi 3 "$LEPTON" check deck.toml \
  --set 'model.layers=[{ type = "dense", units = 2 }]'
expect 66 "absent.h5" run_mpi 3 "$LEPTON" check deck.toml --set data.file=absent.h5
expect 65 "neither HDF5 nor safetensors" "$LEPTON" inspect deck.toml

"$LEPTON" check deck.toml --json | "$PYTHON" -c 'import json, sys; assert json.load(sys.stdin)["steps"]["total"] == 7'
"$LEPTON" inspect friedman.h5 --json | "$PYTHON" -c '
import json, sys
report = json.load(sys.stdin)
assert report["kind"] == "dataset" and report["intact"], report
assert [array["shape"] for array in report["arrays"]] == [[200, 10], [200, 1]], report'

# A run: inspect and status agree with what train says, from the checkpoint and from the model; damage is named.
"$LEPTON" train deck.toml --set run.dir=run >train.txt 2>&1
hash=$(sed -n 's/.*parameters_hash: \([0-9a-f]*\).*/\1/p' train.txt)
checkpoint=$(ls -d run/checkpoints/step-*)
for path in run "$checkpoint" run/model.safetensors; do expect 0 "parameters_hash: $hash" "$LEPTON" inspect "$path"; done
expect 0 "7 steps, the chain holds" "$LEPTON" inspect run
expect 0 "run: finished" "$LEPTON" status run
"$LEPTON" status run --json | "$PYTHON" -c '
import json, sys
status = json.load(sys.stdin)
assert status["state"] == "finished" and status["step"] == 7 and status["exit"] == 0, status'

# predict: what the command line alone shows to be wrong comes before any work, and harms nothing.
predict() { "$LEPTON" predict deck.toml --set run.dir=run --inputs friedman.h5:x --output "$@"; }
expect 64 "run: this is a directory" predict run
expect 64 "would take the place of friedman.h5" predict friedman.h5
expect 64 "run/model.safetensors: this file exists and is not HDF5" predict run/model.safetensors
expect 74 "there is no directory absent" predict absent/scores.h5
expect 66 "--inputs: no file matches absent-*.h5" "$LEPTON" predict deck.toml --set run.dir=run --inputs 'absent-*.h5:x' \
  --output scores.h5
expect 78 "data.normalize: run/checkpoints/" predict scores.h5 --set data.normalize=unit
predict scores.h5 --json 2>/dev/null | "$PYTHON" -c '
import json, sys
told = json.load(sys.stdin)
assert told["output"] == "scores.h5" and told["rows"] == 200 and told["outputs"] == 1, told'
expect 0 "parameters_hash: $hash" "$LEPTON" inspect run
printf 'x' | dd of="$checkpoint/state.bin" bs=1 seek=20 conv=notrunc status=none
expect 65 "heals: state.bin" "$LEPTON" inspect "$checkpoint"
expect 0 "damaged, heals at the next start" "$LEPTON" inspect run
rm "$checkpoint/state.bin.parity"
expect 65 "damaged: state.bin" "$LEPTON" inspect "$checkpoint"
expect 65 "damaged: state.bin" "$LEPTON" inspect run
