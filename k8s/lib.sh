# Sourced by the other scripts of this folder: versions of tools, and where they are.
#   FLOTILLA_TOOLS   where programs are installed (default: as for cargo)
# shellcheck shell=bash disable=SC2034

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${FLOTILLA_TOOLS:-${CARGO_HOME:-$HOME/.cargo}}
chart=$repository/k8s/flotilla
python=$tools/flotilla-chart/bin/python

helm_version=3.19.0
kwok_version=0.7.0
kubernetes_version=1.34.1
kubernetes_validate_version=1.37.0
# Where the definitions of others' resources come from, as they were released.
crd_modules="github.com/kedacore/keda/v2@v2.18.0 github.com/prometheus-operator/prometheus-operator@v0.85.0 sigs.k8s.io/gateway-api@v1.4.0"

fail() {
  echo "$*" >&2
  exit 1
}

# The CustomResourceDefinitions of these modules that the chart has resources of.
crds() {
  local module dir
  for module in $crd_modules; do
    dir=$(cd / && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$dir" ] || fail "could not fetch $module"
    for path in "$dir"/config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml \
      "$dir"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,servicemonitors,prometheusrules}.yaml \
      "$dir"/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml; do
      [ ! -e "$path" ] || echo "$path"
    done
  done
}
