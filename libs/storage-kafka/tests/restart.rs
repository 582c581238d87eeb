//! A broker that is killed and comes back, with what it had on disk.
//!
//! The test starts a broker of its own, from the jars in the folder that `FLOTILLA_TEST_KAFKA_LIB` names
//! (`deploy/dev` fetches them).
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Topics, settings};
use service_kit::loopback::free_address;
use storage_cluster::topics::{Consumer as _, Outgoing, Polled, Publisher as _, Topic};

/// A broker in a folder of its own; killed when it goes out of scope.
struct Broker {
    lib: String,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Broker {
    fn new(lib: String) -> Self {
        let (port, controller) = (free_address().unwrap().port(), free_address().unwrap().port());
        let folder = tempfile::tempdir().unwrap();
        let broker = Self { lib, folder, port, process: None };
        let data = broker.folder.path().join("data");
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\n",
            data.display()
        );
        std::fs::write(broker.settings(), settings).unwrap();
        let format = broker
            .java(&["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(broker.settings())
            .status();
        assert!(format.unwrap().success(), "the broker's folder is made");
        broker
    }

    fn settings(&self) -> std::path::PathBuf {
        self.folder.path().join("server.properties")
    }

    fn java(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &format!("{}/*", self.lib)]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&mut self) {
        self.process = Some(self.java(&["kafka.Kafka"]).arg(self.settings()).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the broker starts");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing_and_doubles_nothing() {
    let Ok(lib) = std::env::var("FLOTILLA_TEST_KAFKA_LIB") else {
        eprintln!("skipped: FLOTILLA_TEST_KAFKA_LIB is not set");
        return;
    };
    assert!(Path::new(&lib).is_dir(), "FLOTILLA_TEST_KAFKA_LIB names a folder");
    let mut broker = Broker::new(lib);
    broker.start();
    let address = format!("127.0.0.1:{}", broker.port);
    let topics = Topics::make(&settings(&address, "restart-", &[("delivery_timeout", "60s")])).await;
    let kafka = topics.0.clone();

    // One publisher, which says each number until it is told that it is durable.
    let publisher = tokio::spawn(async move {
        for number in 0..150_u32 {
            let message = Outgoing {
                key: b"k".to_vec(),
                partition: None,
                payload: number.to_be_bytes().to_vec(),
                traceparent: None,
            };
            kafka.publish(Topic::Jobs, vec![message]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut consumer = topics.0.consumer(Topic::Jobs, "restart").unwrap();
    let (mut worked, mut has_restarted) = (Vec::new(), false);
    let begun = Instant::now();
    while worked.len() < 150 {
        assert!(begun.elapsed() < Duration::from_secs(90), "only {} of 150 came", worked.len());
        match consumer.poll(10, Duration::from_millis(200)).await {
            Ok(Polled::Messages(messages)) => {
                for message in &messages {
                    worked.push(u32::from_be_bytes(message.payload[..].try_into().unwrap()));
                }
                let last = messages.last().unwrap();
                // What cannot be committed while the broker is away is committed with what follows.
                let _ = consumer.commit(last.partition, last.offset + 1).await;
            }
            // The broker is away: the next poll goes on.
            Err(error) => assert!(has_restarted, "{error:?}"),
            Ok(_) => {}
        }
        if worked.len() > 30 && !has_restarted {
            has_restarted = true;
            broker.kill();
            broker.start();
        }
    }
    publisher.await.unwrap();
    assert!(has_restarted);
    let in_order: Vec<u32> = (0..150).collect();
    assert_eq!(worked, in_order, "each once, in its order");
    Box::new(consumer).leave().await;
}
