# Sourced by `up`, `down`, `cluster` and `ordeal`: where the servers' state is, which ports they have, which of them live.
#   FLOTILLA_DEV_DIR    state, logs and addresses (default: target/dev of this clone); remove it for empty servers
#   FLOTILLA_DEV_PORT   the first of fifty ports (default 26000), so that several sets can run beside each other
# shellcheck shell=bash

all_servers=(redis redis-cluster kafka cassandra cassandra-tls)
# What `up` starts where nothing is named: the last is for tests of security alone.
usual_servers=(redis redis-cluster kafka cassandra)
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
state=${FLOTILLA_DEV_DIR:-$repository/target/dev}
first_port=${FLOTILLA_DEV_PORT:-26000}
address_file=$state/servers.env

# A command that ends a script says where, so that none ends in silence.
set -E
trap 'echo "${BASH_SOURCE[0]}, line $LINENO: ended with $?: $BASH_COMMAND" >&2' ERR

fail() {
  echo "$*" >&2
  exit 1
}

# quietly COMMAND...: what it prints is seen only where it fails, on the side of the errors.
quietly() {
  local said
  said=$("$@" 2>&1) || fail "$1 failed: $said"
}

is_server() {
  local name
  for name in "${all_servers[@]}"; do [ "$name" = "$1" ] && return 0; done
  return 1
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A process id is used again some day, so it is kept with the time at which its process began.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# spawn NAME COMMAND...: in the background, in a process group of its own (Ctrl-C is for the tests), log and id kept.
spawn() {
  local name=$1
  shift
  setsid "$@" >>"$state/$name/log" 2>&1 </dev/null 9>&- &
  echo "$! $(began $!)" >>"$state/$name/pids"
}

# Prints those of a server's processes that still run.
living() {
  local pid start
  [ -e "$state/$1/pids" ] || return 0
  while read -r pid start; do
    [ -n "$start" ] && [ "$(began "$pid")" = "$start" ] && echo "$pid"
  done <"$state/$1/pids"
  return 0
}

# cluster_settings FOLDER: what every process and every command of a cluster on these servers reads, cluster.toml and beside it, in
# the environment, what is this set's own. The folder is for its keys and the operator's token.
cluster_settings() {
  # shellcheck disable=SC1090
  . "$address_file"
  export FLOTILLA_CONFIG=$repository/deploy/dev/cluster.toml
  export FLOTILLA__STORAGE__DATA=$1 FLOTILLA__SECRETS__KEY_FILE=$1/keys
  export FLOTILLA__REDIS__NODES="['$FLOTILLA_TEST_REDIS']"
  export FLOTILLA__KAFKA__BOOTSTRAP=$FLOTILLA_TEST_KAFKA
  export FLOTILLA__SCYLLA__CONTACT_POINTS="['$FLOTILLA_TEST_CASSANDRA']"
}

# prepare_cluster PROGRAM FOLDER: the settings, with keys where there are none, and the tables and topics.
prepare_cluster() {
  mkdir -p "$2"
  [ -s "$2/keys" ] || (umask 077 && "$1" secrets new-key --id 1 >"$2/keys")
  cluster_settings "$2"
  "$1" schema apply >/dev/null
  "$1" topics apply >/dev/null
}

# borrow_jars FOLDER: those that another set of servers has fetched already.
borrow_jars() {
  local server jars
  for server in kafka cassandra; do
    jars=$1/$server/jars
    if [ -e "$jars/pom.xml" ] && [ ! -e "$state/$server/jars" ]; then
      mkdir -p "$state/$server"
      cp -r "$jars" "$state/$server/jars"
    fi
  done
}

# The jars of one profile of the pom, fetched once for each version of the pom.
fetch_jars() {
  local name=$1 jars=$state/$1/jars pom=$repository/deploy/dev/servers/pom.xml
  cmp -s "$pom" "$jars/pom.xml" && return
  echo "fetching the jars of $name"
  rm -rf "$jars"
  mkdir -p "$jars"
  mvn --quiet --batch-mode --file "$pom" --activate-profiles "$name" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$jars" || fail "could not fetch the jars of $name"
  cp "$pom" "$jars/pom.xml"
}
