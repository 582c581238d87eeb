# One node of Apache Cassandra, which speaks the same CQL as Scylla.
# shellcheck shell=bash disable=SC2154

cassandra_ports=($((first_port + 30)) $((first_port + 31)) $((first_port + 32)))
cassandra_package="java a-JDK-of-17-or-later"

# cassandra_configuration NAME PORT STORAGE-PORT JMX-PORT AUTHENTICATOR AUTHORIZER
cassandra_configuration() {
  local home=$state/$1
  cat <<Y
cluster_name: flotilla-dev
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [ { seeds: "127.0.0.1:$3" } ]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: $2
storage_port: $3
authenticator: $5
authorizer: $6
commitlog_sync: periodic
commitlog_sync_period: 1000ms
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
memtable_heap_space: 192MiB
memtable_offheap_space: 192MiB
auto_snapshot: false
data_file_directories: [ $home/data/tables ]
commitlog_directory: $home/data/commitlog
hints_directory: $home/data/hints
saved_caches_directory: $home/data/caches
cdc_raw_directory: $home/data/cdc
Y
}

cassandra_logging() {
  cat <<'X'
<configuration>
  <appender name="LOG" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %-5level %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="LOG"/></root>
</configuration>
X
}

# Cassandra looks into the JDK's own packages, which a JDK since 17 allows only by name.
cassandra_modules() {
  local package
  for package in java.io java.lang java.lang.module java.nio java.util java.util.concurrent java.util.concurrent.atomic \
    jdk.internal.loader jdk.internal.math jdk.internal.module jdk.internal.ref jdk.internal.reflect jdk.internal.util.jar sun.nio.ch; do
    echo "--add-opens=java.base/$package=ALL-UNNAMED"
  done
  echo "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED"
  for package in java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch java.sql/java.sql java.rmi/sun.rmi.registry \
    java.rmi/sun.rmi.server java.management.rmi/com.sun.jmx.remote.internal.rmi jdk.attach/sun.tools.attach; do
    echo "--add-exports=$package=ALL-UNNAMED"
  done
}

# cassandra_spawn NAME JMX-PORT HEAP HEAP-MAX
cassandra_spawn() {
  fetch_jars cassandra
  local home=$state/$1 jars=$state/cassandra/jars
  mkdir -p "$home/conf"
  cassandra_logging >"$home/conf/logback.xml"
  cassandra_modules >"$home/conf/modules"
  spawn "$1" java "@$home/conf/modules" -javaagent:"$(echo "$jars"/jamm-*.jar)" -Xms"$3" -Xmx"$4" -XX:+UseSerialGC \
    -XX:MaxDirectMemorySize=256m -Djava.security.manager=allow -Djava.net.preferIPv4Stack=true \
    -Dcassandra.storagedir="$home/data" -Dcassandra.jmx.local.port="$2" -Dcassandra-foreground=yes \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=0 -Dcassandra.superuser_setup_delay_ms=0 \
    -cp "$home/conf:$jars/*" org.apache.cassandra.service.CassandraDaemon
}

cassandra_start() {
  mkdir -p "$state/cassandra/conf"
  cassandra_configuration cassandra "${cassandra_ports[@]}" AllowAllAuthenticator AllowAllAuthorizer \
    >"$state/cassandra/conf/cassandra.yaml"
  cassandra_spawn cassandra "${cassandra_ports[2]}" 512m 1g
}
cassandra_ready() {
  grep -q "Starting listening for CQL clients" "$state/cassandra/log" && port_open "${cassandra_ports[0]}"
}
cassandra_address() { echo "FLOTILLA_TEST_CASSANDRA=127.0.0.1:${cassandra_ports[0]}"; }
