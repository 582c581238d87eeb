# A single Redis that keeps what it is told.
# shellcheck shell=bash disable=SC2154

redis_port=$first_port
redis_ports=("$redis_port")
redis_package="redis-server redis-server"

redis_start() {
  spawn redis redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$state/redis" --appendonly yes --daemonize no
}
redis_ready() { [ "$(redis-cli -p "$redis_port" ping 2>/dev/null)" = PONG ]; }
redis_address() { echo "FLOTILLA_TEST_REDIS=redis://127.0.0.1:$redis_port"; }
