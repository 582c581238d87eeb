# A receiver of OpenTelemetry's traces: the Collector's own, see otel/main.go. Only deploy/dev/traces needs it, and it starts it itself.
# shellcheck shell=bash disable=SC2154

otel_port=$((first_port + 38))
otel_file=$state/otel/traces.jsonl
otel_address=http://127.0.0.1:$otel_port

# Built once for each version of its sources; go.sum says which modules.
otel_build() {
  local sources=$repository/deploy/dev/servers/otel built=$state/otel/sources
  mkdir -p "$state/otel"
  if [ ! -x "$state/otel/receiver" ] || ! diff -rq "$sources" "$built" >/dev/null 2>&1; then
    echo "building the receiver of traces"
    (cd "$sources" && GOFLAGS=-mod=readonly go build -buildvcs=false -trimpath -o "$state/otel/receiver" .)
    rm -rf "$built"
    cp -r "$sources" "$built"
  fi
}

otel_start() {
  otel_build
  [ -z "$(living otel)" ] || return 0
  rm -f "$otel_file" "$state/otel/pids"
  : >"$state/otel/log"
  spawn otel "$state/otel/receiver" "127.0.0.1:$otel_port" "$otel_file"
  local end=$((SECONDS + 30))
  until port_open "$otel_port"; do
    if [ -z "$(living otel)" ] || [ $SECONDS -ge $end ]; then
      tail -n 20 "$state/otel/log" >&2
      fail "the receiver of traces did not come up"
    fi
    sleep 0.2
  done
}

otel_stop() {
  local pid
  for pid in $(living otel); do kill "$pid" 2>/dev/null || true; done
  rm -f "$state/otel/pids"
}
