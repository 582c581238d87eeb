# The same node once more, which takes nobody but over TLS, with a client's certificate and a password.
# Apart from the other, as Cassandra asks either everyone for a password or nobody.
# shellcheck shell=bash disable=SC2154

cassandra_tls_ports=($((first_port + 33)) $((first_port + 34)) $((first_port + 35)))
cassandra_tls_package=$cassandra_package

cassandra_tls_configuration() {
  cassandra_configuration cassandra-tls "${cassandra_tls_ports[@]}" PasswordAuthenticator CassandraAuthorizer
  cat <<Y
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: $certificates/server-both.pem
  truststore: $certificates/ca.pem
Y
}

cassandra_tls_start() {
  make_certificates
  mkdir -p "$state/cassandra-tls/conf"
  cassandra_tls_configuration >"$state/cassandra-tls/conf/cassandra.yaml"
  cassandra_spawn cassandra-tls "${cassandra_tls_ports[2]}" 256m 512m
}

# Its first user, cassandra with the password cassandra, is there some moments later.
cassandra_tls_ready() {
  grep -q "Starting listening for CQL clients" "$state/cassandra-tls/log" && port_open "${cassandra_tls_ports[0]}" &&
    { [ -e "$state/cassandra-tls/data/made" ] || grep -q "Created default superuser role" "$state/cassandra-tls/log"; } &&
    touch "$state/cassandra-tls/data/made"
}
cassandra_tls_address() { echo "FLOTILLA_TEST_CASSANDRA_TLS=127.0.0.1:${cassandra_tls_ports[0]}"; }
