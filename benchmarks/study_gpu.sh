#!/usr/bin/env bash
# The study at its published size on one GPU, made for half an hour on a machine that has PyTorch, PyTorch Geometric and
# Lightning, and no network. Here, once:
#
#   benchmarks/study_gpu.sh wheels               what else it takes, for Python 3.12, into .whl/ (not kept in git)
#
# There, one after the other, each within ten minutes; events and runs stay on its disk in between:
#
#   benchmarks/study_gpu.sh simulate             PYTHIA on all cores for eight minutes
#   benchmarks/study_gpu.sh train panoptag       as many epochs as nine minutes allow, test, weights as safetensors
#   benchmarks/study_gpu.sh train part particlenet
#
# Results are left in $OUT: a JSON record of each tagger so far, PanopTag's weights, the simulation's rate. Here again:
#
#   benchmarks/study_gpu.sh show FOLDER          table and figures of what came back
#
# --minutes, --setup, --folder and --tiny (does it all work?) are options of the steps.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=(pythia8mc fastjet awkward awkward_cpp vector particle hepunits isal pydantic pydantic_core annotated-types typing-inspection)

fetch() {
    local pins=() platforms=()
    for name in "${wheels[@]}"; do pins+=("$(grep "^$name==" constraints.txt)"); done
    for glibc in 17 24 27 28 31 34; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any)
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
        --implementation cp --abi cp312 --abi abi3 --abi none "${platforms[@]}" --dest .whl "${pins[@]}"
    du -sh .whl
}

# Without an installation: the wheels, and the repository's folders under the names that they are installed as.
prepare() {
    if (cd / && "$python" -c "import panoptag_pyg.benchmarks.study, pythia8mc, fastjet") 2>/dev/null; then return; fi
    local site=${PANOPTAG_SITE:-/tmp/panoptag-site}
    mkdir -p "$site/panoptag_pyg"
    if compgen -G ".whl/*.whl" >/dev/null && [ ! -e "$site/.wheels" ]; then
        "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl
        touch "$site/.wheels"
    fi
    for path in "$PWD"/panoptag_pyg/* "$PWD/cli" "$PWD/data" "$PWD/benchmarks"; do
        ln -sfn "$path" "$site/panoptag_pyg/$(basename "$path")"
    done
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
}

case ${1:-} in
wheels) fetch ;;
simulate | train | show)
    step=$1
    shift
    limit=()
    case "$step $* " in simulate*" --minutes "*) ;; simulate*) limit=(--minutes 8) ;; esac
    prepare
    export PYTHONUNBUFFERED=1
    if [ "$step" = simulate ]; then export OMP_NUM_THREADS=1; fi
    # -P: not from the repository's root, where panoptag_pyg lacks the folders beside it.
    exec "$python" -P -m panoptag_pyg.benchmarks.study.gpu "$step" "$@" ${limit[@]+"${limit[@]}"}
    ;;
*)
    sed -n '2,18s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
