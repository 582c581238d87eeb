//! One whole step of an empty visit: the message is decoded, the session handled, the answer written, the record encoded.

use benches::visit::Visit;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syncml::Encoding;

fn empty_visit(c: &mut Criterion) {
    let mut group = c.benchmark_group("step of an empty visit");
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let visit = Visit::new(encoding);
        let [first, second] = visit.message_sizes();
        group.throughput(Throughput::Bytes(first));
        group.bench_function(format!("{encoding}, challenged"), |b| b.iter(|| visit.challenge()));
        group.throughput(Throughput::Bytes(second));
        group.bench_function(format!("{encoding}, accepted"), |b| b.iter(|| visit.accept()));
    }
    group.finish();
}

criterion_group!(benches, empty_visit);
criterion_main!(benches);
