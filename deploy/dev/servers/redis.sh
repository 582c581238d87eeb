# A single Redis that keeps what it is told. Beside its plain port it has one of TLS, which asks for a client's certificate;
# its user `flotilla` has a password.
# shellcheck shell=bash disable=SC2154

redis_port=$first_port
redis_tls_port=$((first_port + 7))
redis_ports=("$redis_port" "$redis_tls_port")
redis_package="redis-server redis-server"

redis_start() {
  make_certificates
  spawn redis redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$state/redis" --appendonly yes --daemonize no \
    --tls-port "$redis_tls_port" --tls-auth-clients yes --tls-ca-cert-file "$certificates/ca.pem" \
    --tls-cert-file "$certificates/server.pem" --tls-key-file "$certificates/server.key" \
    --user default on nopass "~*" "&*" +@all --user "$secured_user" on ">$secured_password" "~*" "&*" +@all
}
redis_ready() { [ "$(redis-cli -p "$redis_port" ping 2>/dev/null)" = PONG ]; }
redis_address() {
  echo "FLOTILLA_TEST_REDIS=redis://127.0.0.1:$redis_port FLOTILLA_TEST_REDIS_TLS=rediss://127.0.0.1:$redis_tls_port"
}
