# A Redis Cluster: three masters, a replica of each, failover within seconds.
# shellcheck shell=bash disable=SC2154

redis_cluster_ports=()
for ((i = 1; i <= 6; i++)); do redis_cluster_ports+=($((first_port + i))); done
redis_cluster_package="redis-server redis-server"

redis_cluster_start() {
  local port
  for port in "${redis_cluster_ports[@]}"; do
    mkdir -p "$state/redis-cluster/$port"
    # The bus has a port of its own choice, as the usual one (10000 more) may be beyond the last port.
    spawn redis-cluster redis-server --port "$port" --cluster-port $((port + 10)) --bind 127.0.0.1 \
      --dir "$state/redis-cluster/$port" --cluster-enabled yes --cluster-node-timeout 2000 --appendonly yes --daemonize no
  done
}

# Ready when each node sees all slots served and all six nodes; makes them a cluster the first time.
redis_cluster_ready() {
  local port info
  for port in "${redis_cluster_ports[@]}"; do
    [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] || return 1
  done
  if [[ $(redis-cli -p "$port" cluster info) == *cluster_known_nodes:1[^0-9]* ]]; then
    redis-cli --cluster create "${redis_cluster_ports[@]/#/127.0.0.1:}" --cluster-replicas 1 --cluster-yes \
      >>"$state/redis-cluster/log" 2>&1 || return 1
  fi
  for port in "${redis_cluster_ports[@]}"; do
    info=$(redis-cli -p "$port" cluster info 2>/dev/null) || return 1
    [[ $info == *cluster_state:ok* && $info == *cluster_known_nodes:6* ]] || return 1
  done
}
redis_cluster_address() {
  local port list=
  for port in "${redis_cluster_ports[@]}"; do list+=${list:+,}127.0.0.1:$port; done
  echo "FLOTILLA_TEST_REDIS_CLUSTER=redis://$list"
}
