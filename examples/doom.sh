#!/bin/sh
# From nothing to the embedded model playing Doom, as docs/curation.md describes. Every step continues where it was stopped.
#
#   examples/doom.sh data       record Freedoom, curate, encode: data/doom to train on, data/doom_heldout of other maps
#   examples/doom.sh train      fine-tune the embedded model: runs/doom, then models/doom (more --set name=value may follow)
#   examples/doom.sh measure    both models on the held-out maps, and which differences are significant
#
# A try at everything in minutes:
#   TRAIN=freedoom1/e1m1 HELD_OUT=freedoom1/e1m3 SECONDS_EACH=12 STEPS=3 STARTS=1 DATA=/tmp/doom examples/doom.sh data
set -eu

TRAIN=${TRAIN:-freedoom1/e1m1 freedoom1/e1m2 freedoom1/e2m2 freedoom1/e3m3 freedoom2/map01 freedoom2/map04 freedoom2/map07 \
freedoom2/map11}
HELD_OUT=${HELD_OUT:-freedoom1/e1m3 freedoom1/e2m4 freedoom1/e3m1 freedoom2/map03 freedoom2/map09 freedoom2/map14}
SECONDS_EACH=${SECONDS_EACH:-75} # of every map to train on; held-out ones get 40
STEPS=${STEPS:-100}              # of the fine-tune
STARTS=${STARTS:-16}             # held-out clips to measure
DATA=${DATA:-data}
RUN=${RUN:-runs/doom}
MODEL=${MODEL:-src/gamecraft/assets/mini} # what to begin with
TUNED=${TUNED:-models/doom}
OUTPUT=${OUTPUT:-outputs}

data() {
    size="--width 400 --height 225"
    # shellcheck disable=SC2086
    gamecraft record --doom $TRAIN $size --seconds "$SECONDS_EACH" --output "$DATA/raw/doom"
    # shellcheck disable=SC2086
    gamecraft record --doom $HELD_OUT $size --seconds 40 --seed 7 --output "$DATA/raw/doom_heldout"
    # 45 frames: a history and four chunks. Poses as the engine knows them; menus there are none to read. Of the
    # held-out clips a seventh, all kinds of motion alike.
    curate="--frames 45 --poses recorded --set text.samples=0"
    # shellcheck disable=SC2086
    gamecraft curate "$DATA/raw/doom" --output "$DATA/doom" $curate --set balance.size=1.5
    # shellcheck disable=SC2086
    gamecraft curate "$DATA/raw/doom_heldout" --output "$DATA/doom_heldout" $curate --set balance.reverse=false \
        --set balance.size=0.14
    for part in doom doom_heldout; do
        gamecraft encode "$DATA/$part" --autoencoder "$MODEL/vae" --name mini
    done
}

train() {
    gamecraft train --config recipes/doom.yaml --run "$RUN" --set max_steps="$STEPS" \
        --set data="$DATA/doom" --set held_out="$DATA/doom_heldout" --set text="$MODEL" \
        --set autoencoder="$MODEL/vae" --set depth="$MODEL/depth_estimator" \
        --set init_from="$MODEL/transformer" "$@"
    gamecraft package --transformer "$RUN/transformer" --autoencoder "$MODEL/vae" --text "$MODEL" \
        --depth "$MODEL/depth_estimator" --output "$TUNED"
}

measure() {
    play="--suite play --data $DATA/doom_heldout --starts $STARTS"
    # shellcheck disable=SC2086
    gamecraft evaluate $play --model "$MODEL" --output "$OUTPUT/doom_before"
    # shellcheck disable=SC2086
    gamecraft evaluate $play --model "$TUNED" --output "$OUTPUT/doom_after"
    gamecraft compare "$OUTPUT/doom_before" "$OUTPUT/doom_after"
}

step=${1:-}
[ $# = 0 ] || shift
case $step in
data | train | measure) "$step" "$@" ;;
*)
    echo "usage: examples/doom.sh data | train | measure" >&2
    exit 2
    ;;
esac
