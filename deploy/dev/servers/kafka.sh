# One Apache Kafka broker that is its own controller.
# shellcheck shell=bash disable=SC2154

# The listener, the controller's, and a second listener that tells clients to come to the port behind it: a proxy stands there
# when one wants to see what a bad link does. Then two over TLS: one asks for a user and a password, one for a certificate.
kafka_ports=($((first_port + 20)) $((first_port + 21)) $((first_port + 22)) $((first_port + 24)) $((first_port + 25)))
kafka_package="java a-JDK-of-17-or-later"

kafka_configuration() {
  cat <<P
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:${kafka_ports[1]}
listeners=PLAINTEXT://127.0.0.1:${kafka_ports[0]},CONTROLLER://127.0.0.1:${kafka_ports[1]},PROXIED://127.0.0.1:${kafka_ports[2]},PASSWORD://127.0.0.1:${kafka_ports[3]},CERTIFICATE://127.0.0.1:${kafka_ports[4]}
advertised.listeners=PLAINTEXT://127.0.0.1:${kafka_ports[0]},PROXIED://127.0.0.1:$((kafka_ports[2] + 1)),PASSWORD://127.0.0.1:${kafka_ports[3]},CERTIFICATE://127.0.0.1:${kafka_ports[4]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,PASSWORD:SASL_SSL,CERTIFICATE:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$certificates/server-both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$certificates/ca.pem
listener.name.certificate.ssl.client.auth=required
listener.name.password.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.password.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
# Whoever comes in the open, and our user by password or certificate, may do everything; the user \`stranger\` nothing.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:$secured_user;User:CN=$secured_user
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
  make_certificates
  local home=$state/kafka user users=()
  # A log of before the users were there has none of them, and they are given when it is made.
  [ -e "$home/data/users" ] || rm -rf "$home/data"
  for user in "$secured_user" stranger; do users+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$secured_password]"); done
  kafka_configuration >"$home/server.properties"
  if [ ! -e "$home/data/meta.properties" ]; then
    # An id may begin with a dash, so it stands behind an equals sign.
    quietly java -cp "$home/jars/*" kafka.tools.StorageTool format --ignore-formatted --config "$home/server.properties" \
      --cluster-id="$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)" "${users[@]}"
    touch "$home/data/users"
  fi
  spawn kafka java -Xms256m -Xmx512m -XX:+UseSerialGC -cp "$home/jars/*" kafka.Kafka "$home/server.properties"
}
kafka_ready() { grep -q "Kafka Server started" "$state/kafka/log" && port_open "${kafka_ports[0]}"; }
# The jars too: a test that kills a broker starts one of its own.
kafka_address() {
  echo "FLOTILLA_TEST_KAFKA=127.0.0.1:${kafka_ports[0]} FLOTILLA_TEST_KAFKA_LIB=\"$state/kafka/jars\"" \
    "FLOTILLA_TEST_KAFKA_PASSWORD=127.0.0.1:${kafka_ports[3]} FLOTILLA_TEST_KAFKA_CERTIFICATE=127.0.0.1:${kafka_ports[4]}"
}
