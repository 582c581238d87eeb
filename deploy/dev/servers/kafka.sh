# One Apache Kafka broker that is its own controller.
# shellcheck shell=bash disable=SC2154

# The listener, the controller's, and a second listener that tells clients to come to the port behind it: a proxy stands there
# when one wants to see what a bad link does.
kafka_ports=($((first_port + 20)) $((first_port + 21)) $((first_port + 22)))
kafka_package="java a-JDK-of-17-or-later"

kafka_configuration() {
  cat <<P
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:${kafka_ports[1]}
listeners=PLAINTEXT://127.0.0.1:${kafka_ports[0]},CONTROLLER://127.0.0.1:${kafka_ports[1]},PROXIED://127.0.0.1:${kafka_ports[2]}
advertised.listeners=PLAINTEXT://127.0.0.1:${kafka_ports[0]},PROXIED://127.0.0.1:$((kafka_ports[2] + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$state/kafka/data
# A topic that nobody created is a mistake that a test should see.
auto.create.topics.enable=false
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
P
}

kafka_start() {
  fetch_jars kafka
  local home=$state/kafka
  kafka_configuration >"$home/server.properties"
  if [ ! -e "$home/data/meta.properties" ]; then
    java -cp "$home/jars/*" kafka.tools.StorageTool format --ignore-formatted --config "$home/server.properties" \
      --cluster-id "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)" >>"$home/log" 2>&1
  fi
  spawn kafka java -Xms256m -Xmx512m -XX:+UseSerialGC -cp "$home/jars/*" kafka.Kafka "$home/server.properties"
}
kafka_ready() { grep -q "Kafka Server started" "$state/kafka/log" && port_open "${kafka_ports[0]}"; }
# The jars too: a test that kills a broker starts one of its own.
kafka_address() { echo "FLOTILLA_TEST_KAFKA=127.0.0.1:${kafka_ports[0]} FLOTILLA_TEST_KAFKA_LIB=\"$state/kafka/jars\""; }
