//! The harness itself: a broker that comes back with its data, lets in whom it should, and hides what was aborted.

use std::time::Duration;

use integration_tests::kafka::{Broker, Feed, Listener, PASSWORD, USER, Workload, available, shared_broker};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

fn small(seed: u64) -> Workload {
    Workload { seed, messages: 3_000, keys: 16, partitions: 4, max_samples: 40 }
}

#[test]
fn a_broker_comes_back_with_its_data() {
    if !available("a_broker_comes_back_with_its_data") {
        return;
    }
    let broker = Broker::start();
    let client = broker.client();
    let workload = small(1);
    client.create_topic("in", workload.partitions);
    let feed = Feed::start(&client, "in", workload);
    feed.allow(workload.messages / 2);
    let mut tail = client.tail("in");
    integration_tests::kafka::wait_until("messages", Duration::from_secs(30), || tail.poll() > 100);
    broker.kill();
    assert!(client.ready(Duration::from_millis(500)).is_err(), "it is dead");
    broker.restart();
    feed.allow(workload.messages / 4);
    broker.stop();
    broker.restart();
    feed.finish();

    let mut found = vec![Vec::new(); workload.partitions];
    for record in client.read("in") {
        found[record.partition as usize].push((record.key.unwrap(), record.value.unwrap()));
    }
    let mut sent = vec![Vec::new(); workload.partitions];
    for message in workload.messages() {
        sent[message.partition].push((message.key.clone().into_bytes(), message.value()));
    }
    assert!(found == sent, "what was produced is there once and in order");
}

#[test]
fn a_reader_sees_committed_transactions_only() {
    let Some(broker) = shared_broker("a_reader_sees_committed_transactions_only") else { return };
    let client = broker.client();
    client.create_topic("transactions", 1);
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("transactional.id", "harness")
        .create()
        .unwrap();
    let timeout = Duration::from_secs(30);
    producer.init_transactions(timeout).unwrap();
    for (value, commit) in [("a", true), ("b", false), ("c", true)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<str, str>::to("transactions").payload(value)).map_err(|(e, _)| e).unwrap();
        producer.flush(timeout).unwrap();
        match commit {
            true => producer.commit_transaction(timeout).unwrap(),
            false => producer.abort_transaction(timeout).unwrap(),
        }
    }
    let values: Vec<_> =
        client.read("transactions").into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [b"a", b"c"]);
    assert!(client.ends("transactions").unwrap()[0] > 3, "the aborted message is there all the same");
}

#[test]
fn what_a_group_has_committed_is_its_lag() {
    let Some(broker) = shared_broker("what_a_group_has_committed_is_its_lag") else { return };
    let client = broker.client();
    client.create_topic("lag", 2);
    assert_eq!(client.committed("lag-group", "lag").unwrap(), [None, None]);
    let producer = client.producer();
    for _ in 0..7 {
        producer.send("lag", 1, None, Some(b"x"));
    }
    producer.flush();
    assert_eq!(client.lag("lag-group", "lag"), Ok(7));
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "lag-group")
        .create()
        .unwrap();
    let mut offsets = rdkafka::TopicPartitionList::new();
    offsets.add_partition_offset("lag", 1, rdkafka::Offset::Offset(5)).unwrap();
    consumer.commit(&offsets, rdkafka::consumer::CommitMode::Sync).unwrap();
    assert_eq!(client.lag("lag-group", "lag"), Ok(2));
    client.grow_topic("lag", 3);
    assert_eq!(client.committed("lag-group", "lag").unwrap(), [None, Some(5), None]);
}

#[test]
fn a_secured_broker_wants_certificates_and_passwords() {
    if !available("a_secured_broker_wants_certificates_and_passwords") {
        return;
    }
    let broker = Broker::start_secured();
    let certificates = broker.certificates();
    let answers = |listener: Listener, options: &[(&str, &str)]| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.listener_address(listener));
        config.set("ssl.ca.location", certificates.authority().display().to_string());
        for (name, value) in options {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.fetch_metadata(None, Duration::from_secs(5)).is_ok()
    };
    let certificate = certificates.client_certificate().display().to_string();
    let key = certificates.client_key().display().to_string();
    let own = [
        ("security.protocol", "ssl"),
        ("ssl.certificate.location", certificate.as_str()),
        ("ssl.key.location", key.as_str()),
        ("ssl.key.password", certificates.client_key_password()),
    ];
    assert!(answers(Listener::Tls, &own));
    assert!(!answers(Listener::Tls, &own[..1]), "without a certificate");
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let with_password = |password| {
            let options = [
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", mechanism),
                ("sasl.username", USER),
                ("sasl.password", password),
            ];
            answers(Listener::SaslTls, &options)
        };
        assert!(with_password(PASSWORD), "{mechanism}");
        assert!(!with_password("wrong"), "{mechanism} with a wrong password");
    }
}
