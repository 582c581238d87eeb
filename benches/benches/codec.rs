//! The codec on a real package 1 (2,037 octets of XML), beside what bounds it on the same machine.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quick_xml::{Reader, events::Event};
use syncml::{Command, Data, Encoding, Item, ItemCommand, Limits, Message, decode, encode};

const PACKAGE_1: &[u8] = include_bytes!("../../libs/syncml/tests/corpus/captures-intel/fumo-xml-5.xml");

fn decode_package_1(c: &mut Criterion) {
    let limits = Limits::default();
    let message = decode(Encoding::Xml, PACKAGE_1, &limits).expect("the sample decodes");
    let wbxml = encoded(Encoding::Wbxml, &message);

    let mut group = c.benchmark_group("decode package 1");
    group.throughput(Throughput::Bytes(PACKAGE_1.len() as u64));
    group.bench_function("xml", |b| b.iter(|| decode(Encoding::Xml, black_box(PACKAGE_1), &limits)));
    group.bench_function("xml, quick-xml's bare events", |b| b.iter(|| bare_events(black_box(PACKAGE_1))));
    group.throughput(Throughput::Bytes(wbxml.len() as u64));
    group.bench_function("wbxml", |b| b.iter(|| decode(Encoding::Wbxml, black_box(&wbxml), &limits)));
    group.bench_function("wbxml, bare tokens", |b| b.iter(|| bare_tokens(black_box(&wbxml))));
    group.finish();
}

fn encode_package_1(c: &mut Criterion) {
    let message = decode(Encoding::Xml, PACKAGE_1, &Limits::default()).expect("the sample decodes");

    let mut group = c.benchmark_group("encode package 1");
    let mut out = Vec::with_capacity(4096);
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let prepared = encoded(encoding, &message);
        group.throughput(Throughput::Bytes(prepared.len() as u64));
        group.bench_function(encoding.to_string(), |b| {
            b.iter(|| {
                out.clear();
                encode(encoding, black_box(&message), &mut out);
            });
        });
        // The least that writing can cost: the same octets, cut where text and markup meet.
        let pieces: Vec<&[u8]> = prepared.split_inclusive(|&octet| octet == b'>' || octet == 0).collect();
        group.bench_function(format!("{encoding}, copying prepared pieces"), |b| {
            b.iter(|| {
                out.clear();
                for piece in black_box(&pieces) {
                    out.extend_from_slice(piece);
                }
            });
        });
    }
    group.finish();
}

/// One megabyte of base64 in Data. Decoding it must not copy it.
fn large_object(c: &mut Criterion) {
    let limits = Limits::default();
    let data = Data::from("QUJD".repeat(1 << 18));
    let items = vec![Item { data: Some(data), ..Item::default() }];
    let mut message = Message::default();
    message.body.commands.push(Command::Replace(ItemCommand { items, ..ItemCommand::default() }));

    let mut group = c.benchmark_group("1 MB of Data");
    group.sample_size(20);
    let mut out = Vec::with_capacity(2 << 20);
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let bytes = encoded(encoding, &message);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("decode {encoding}"), |b| {
            b.iter(|| decode(encoding, black_box(&bytes), &limits));
        });
        group.bench_function(format!("encode {encoding}"), |b| {
            b.iter(|| {
                out.clear();
                encode(encoding, black_box(&message), &mut out);
            });
        });
    }
    let xml = encoded(Encoding::Xml, &message);
    group.bench_function("memchr over it", |b| b.iter(|| memchr::memchr(0, black_box(&xml))));
    group.bench_function("quick-xml's bare events", |b| b.iter(|| bare_events(black_box(&xml))));
    group.finish();
}

fn encoded(encoding: Encoding, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(encoding, message, &mut out);
    out
}

fn bare_events(xml: &[u8]) -> usize {
    let mut reader = Reader::from_reader(xml);
    let mut events = 0;
    while !matches!(reader.read_event().expect("the sample is well-formed"), Event::Eof) {
        events += 1;
    }
    events
}

fn bare_tokens(wbxml: &[u8]) -> usize {
    let mut reader = wbxml::Reader::new(wbxml).expect("the sample has a header");
    let mut tokens = 0;
    while reader.next_token().expect("the sample is whole").is_some() {
        tokens += 1;
    }
    tokens
}

criterion_group!(codec, decode_package_1, encode_package_1, large_object);
criterion_main!(codec);
